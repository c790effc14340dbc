//! When an attempt is repeated, where, and what the client is told when it is not.

use std::{sync::Arc, time::Duration};

use pingora::{ErrorType, http::RequestHeader};
use weir_protocol::{Lifecycle, grpc::GrpcCall, rest::RestCall};

use super::{
    super::{
        body::Body,
        context::Deadline,
        local,
        names::{self, Call, Names},
        test_session::session,
    },
    *,
};
use crate::{
    registry::{Event, Registry},
    task::Tasks,
    tests::{config, report, running},
};

const PATH: &str = "/v2/models/m/infer";

/// A registry of healthy workers that all serve model `m`, and the tasks that keep it.
async fn fleet(workers: usize) -> (Arc<Registry>, Tasks) {
    let mut text = "version = 1\n".to_owned();
    for index in 1..=workers {
        text += &format!("[[worker]]\nname = \"w{index}\"\nurl = \"http://127.0.0.1:{index}\"\n");
    }
    let config = config(&text);
    let (registry, tasks) = running(Arc::clone(&config));
    for worker in &config.workers {
        let report = Arc::new(report(1, &[("m", 1, Lifecycle::Serving)]));
        let (worker, address) = (worker.name.clone(), worker.address);
        registry.send(Event::Report { worker, address, report }).await.unwrap();
    }
    // Answered after everything before it is visible.
    registry.apply(config).await.unwrap();
    (registry, tasks)
}

/// A request in its first attempt.
async fn request(registry: &Registry) -> (Session, Context) {
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let (session, _client) = session(&head).await;
    let mut ctx = Context::new(registry.snapshot_full(), registry.open_request());
    let call = RestCall::parse("POST", PATH).unwrap();
    let names = Names::in_path(call.target().unwrap(), &session.req_header().headers).unwrap();
    ctx.asked = Some(names::resolve(&ctx.snapshot, session.req_header(), names, Call::Rest(call)).unwrap());
    ctx.body = Body::Buffered;
    ctx.attempts.next = Some(peer::choose(&ctx).unwrap());
    begin(&mut ctx);
    (session, ctx)
}

fn begin(ctx: &mut Context) {
    peer::begin_attempt(ctx).unwrap();
}

fn in_flight(registry: &Registry) -> u64 {
    registry.snapshot().endpoints.iter().map(|endpoint| endpoint.live.in_flight()).sum()
}

fn reason(ctx: &Context) -> Option<Reason> {
    ctx.failure.as_ref().map(|failure| failure.reason)
}

/// A worker's refusal for want of time.
fn refused(reason: Reason) -> ResponseHeader {
    let mut response = ResponseHeader::build(reason.status(), None).unwrap();
    response.insert_header(headers::REFUSED, Refusal::Deadline.name()).unwrap();
    response.insert_header(headers::REASON, reason.name()).unwrap();
    response
}

fn broken() -> Box<Error> {
    Error::new_up(ErrorType::ConnectionClosed)
}

#[tokio::test]
async fn a_refused_request_goes_to_every_other_worker_once_then_the_refusal_passes_on() {
    let (registry, _tasks) = fleet(3).await;
    let (session, mut ctx) = request(&registry).await;
    let shed = refused(Reason::Shed);
    for _ in 0..2 {
        assert!(after_refusal(&session, &mut ctx, &shed).is_some_and(|error| error.retry()));
        let next = ctx.attempts.next.as_ref().unwrap().endpoint().spec.id.clone();
        assert!(!ctx.attempts.tried.contains(&next), "{next} was tried already");
        begin(&mut ctx);
        assert_eq!(in_flight(&registry), 1, "the refused attempt gave its lease back");
    }
    assert!(after_refusal(&session, &mut ctx, &shed).is_none(), "three attempts are the limit");
    assert_eq!(in_flight(&registry), 0);
}

#[tokio::test]
async fn the_next_worker_is_told_how_long_those_before_it_had_the_request() {
    let (registry, _tasks) = fleet(3).await;
    let (session, mut ctx) = request(&registry).await;
    let waited = |ctx: &Context| {
        let mut head = RequestHeader::build("POST", PATH.as_bytes(), None).unwrap();
        peer::rewrite(&session, &mut head, ctx).unwrap();
        head.headers.get(headers::WAITED_US).map(|value| value.to_str().unwrap().parse::<u64>().unwrap())
    };
    tokio::time::pause();
    ctx.attempts.started = Some(tokio::time::Instant::now());
    assert_eq!(waited(&ctx), None);
    let mut seen = Vec::new();
    for took in [40, 5] {
        tokio::time::advance(Duration::from_millis(took)).await;
        assert!(after_refusal(&session, &mut ctx, &refused(Reason::Shed)).is_some());
        begin(&mut ctx);
        seen.push(waited(&ctx));
    }
    assert_eq!(seen, [Some(40_000), Some(45_000)]);
}

#[tokio::test]
async fn a_request_that_is_over_at_a_worker_goes_to_no_other() {
    let (registry, _tasks) = fleet(2).await;
    let (session, mut ctx) = request(&registry).await;
    assert!(after_refusal(&session, &mut ctx, &refused(Reason::Deadline)).is_none());
    assert_eq!((ctx.attempts.tried.len(), in_flight(&registry)), (1, 0), "the lease came back all the same");
}

#[tokio::test]
async fn a_failed_connect_and_a_break_go_to_another_worker() {
    let (registry, _tasks) = fleet(3).await;
    let (session, mut ctx) = request(&registry).await;
    assert!(after_connect_failure(&session, &mut ctx, Error::new_up(ErrorType::ConnectRefused)).retry());
    begin(&mut ctx);
    assert!(after_break(&session, &mut ctx, broken(), false).retry());
    begin(&mut ctx);
    assert!(!after_break(&session, &mut ctx, broken(), false).retry());
    assert_eq!(reason(&ctx), Some(Reason::WorkerFailed));
    assert_eq!(ctx.attempts.tried.len(), 3);
}

#[tokio::test]
async fn the_only_worker_is_tried_again_when_an_idle_connection_turned_out_closed() {
    let (registry, _tasks) = fleet(1).await;
    let (session, mut ctx) = request(&registry).await;
    assert!(after_break(&session, &mut ctx, broken(), true).retry());
    begin(&mut ctx);
    assert!(!after_break(&session, &mut ctx, broken(), false).retry(), "a fresh connection broke");
    assert_eq!(reason(&ctx), Some(Reason::WorkerFailed));
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_ends_the_request() {
    let (registry, _tasks) = fleet(2).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n");
    let (mut session, mut client) = session(&head).await;
    let (_, mut ctx) = request(&registry).await;
    ctx.body = Body::Streaming;
    session.enable_retry_buffering();
    tokio::io::AsyncWriteExt::write_all(&mut client, &[7; 100_000]).await.unwrap();
    while !session.as_downstream().retry_buffer_truncated() {
        session.read_request_body().await.unwrap();
    }
    assert!(!after_break(&session, &mut ctx, broken(), false).retry());
    assert_eq!(reason(&ctx), Some(Reason::WorkerFailed));
}

#[tokio::test]
async fn a_client_that_left_is_not_worth_another_attempt() {
    let (registry, _tasks) = fleet(2).await;
    let (session, mut ctx) = request(&registry).await;
    let gone = Error::new_down(ErrorType::ConnectionClosed);
    assert!(!after_break(&session, &mut ctx, gone, false).retry());
    assert_eq!(reason(&ctx), None);
}

#[tokio::test]
async fn a_deadline_that_passed_is_told_as_such() {
    let (registry, _tasks) = fleet(2).await;
    for (from_client, expected) in [(true, Reason::Deadline), (false, Reason::WorkerTimeout)] {
        let (session, mut ctx) = request(&registry).await;
        ctx.deadline = Deadline { at: Some(ctx.arrived - Duration::from_millis(1)), from_client };
        let error = after_break(&session, &mut ctx, Error::new_up(ErrorType::ReadTimedout), false);
        assert!(!error.retry());
        assert_eq!(reason(&ctx), Some(expected));
    }
}

#[tokio::test]
async fn only_the_closed_list_of_refusals_counts_as_one() {
    let response = |value: &str| {
        let mut response = ResponseHeader::build(503, None).unwrap();
        response.insert_header(headers::REFUSED, value).unwrap();
        response
    };
    assert_eq!(refusal(&response("queue-full")), Some(Refusal::QueueFull));
    assert_eq!(refusal(&response("tired")), None);
    assert_eq!(refusal(&ResponseHeader::build(503, None).unwrap()), None);
}

#[tokio::test]
async fn a_lack_of_sockets_is_told_as_overload_and_blames_no_worker() {
    let (registry, _tasks) = fleet(2).await;
    let (session, mut ctx) = request(&registry).await;
    let error = Error::new_in(ErrorType::InternalError);
    assert!(!blames_worker(&error, &ctx));
    assert!(!after_connect_failure(&session, &mut ctx, error).retry());
    assert_eq!(reason(&ctx), Some(Reason::Overloaded));
    assert!(blames_worker(&Error::new_up(ErrorType::ConnectRefused), &ctx));
}

#[tokio::test]
async fn an_answer_of_another_protocol_is_none() {
    let (registry, _tasks) = fleet(1).await;
    let (_session, mut ctx) = request(&registry).await;
    let answer = |status: u16, kind: &'static str| {
        let mut response = ResponseHeader::build(status, None).unwrap();
        response.insert_header("content-type", kind).unwrap();
        response
    };
    assert!(check_answer(&answer(101, ""), &ctx).is_err());
    assert!(check_answer(&answer(500, "text/html"), &ctx).is_ok(), "over REST every status is an answer");
    ctx.grpc.spoken = true;
    assert!(check_answer(&answer(200, "application/grpc+proto"), &ctx).is_ok());
    for (status, kind) in
        [(200, "application/json"), (404, "application/grpc"), (502, "text/html"), (200, "")]
    {
        assert!(check_answer(&answer(status, kind), &ctx).is_err(), "{status} {kind}");
    }
}

#[tokio::test]
async fn a_call_that_found_its_connection_gone_tries_again_and_blames_nobody() {
    let (registry, _tasks) = fleet(1).await;
    let (session, mut ctx) = request(&registry).await;
    let gone = || Error::new_up(ErrorType::H2Error);
    assert!(!blames_worker(&gone(), &ctx));
    for _ in 1..ctx.snapshot.config.limits.attempts {
        assert!(
            after_connect_failure(&session, &mut ctx, gone()).retry(),
            "the only worker, another connection"
        );
        begin(&mut ctx);
    }
    assert!(!after_connect_failure(&session, &mut ctx, gone()).retry());
    assert_eq!(reason(&ctx), Some(Reason::WorkerFailed));
}

#[tokio::test]
async fn a_stream_that_was_silent_for_too_long_is_not_begun_anew() {
    let (registry, _tasks) = fleet(2).await;
    let (session, mut ctx) = request(&registry).await;
    ctx.grpc.call = Some(GrpcCall::ModelStreamInfer);
    assert!(!after_break(&session, &mut ctx, Error::new_up(ErrorType::ReadTimedout), false).retry());
    assert_eq!(reason(&ctx), Some(Reason::WorkerFailed));
}

#[tokio::test]
async fn what_streams_past_the_deadline_is_ended() {
    let (registry, _tasks) = fleet(1).await;
    let (_session, mut ctx) = request(&registry).await;
    assert!(local::watch_answer(&mut ctx, false).is_ok() && local::watch_body(&mut ctx, None, false).is_ok());
    ctx.deadline = Deadline { at: Some(ctx.arrived - Duration::from_millis(1)), from_client: false };
    assert!(local::watch_answer(&mut ctx, true).is_ok(), "its last part may pass");
    assert!(local::watch_answer(&mut ctx, false).is_err());
    assert_eq!(reason(&ctx), Some(Reason::WorkerTimeout));
    assert!(local::watch_body(&mut ctx, None, false).is_err());
    assert_eq!(reason(&ctx), Some(Reason::BodyTooSlow));
}

#[tokio::test]
async fn what_concerns_the_hop_to_the_worker_stays_there() {
    let (registry, _tasks) = fleet(1).await;
    let (_session, ctx) = request(&registry).await;
    assert!(check_answer(&ResponseHeader::build(101, None).unwrap(), &ctx).is_err());
    let mut response = ResponseHeader::build(200, None).unwrap();
    for name in ["keep-alive", "upgrade", "weir-refused", "endpoint-load-metrics", "weir-served", "x-own"] {
        response.insert_header(name, "1").unwrap();
    }
    assert!(check_answer(&response, &ctx).is_ok());
    respond::clean(&mut response);
    let mut left: Vec<_> = response.headers.keys().map(http::HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["weir-served", "x-own"]);
}
