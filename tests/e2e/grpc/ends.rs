//! Calls that end before their answer: a client that cancels, a deadline that passes. Nothing stays behind.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Request;
use weir_protocol::grpc::{InferParameter, ModelInferRequest, infer_parameter::ParameterChoice};
use weir_tests::{
    Fleet, Synthetic, WorkerSpec, eventually,
    grpc::{GrpcClient, path, wire},
    infer,
};

use super::both;

/// DEADLINE_EXCEEDED and UNAVAILABLE.
const DEADLINE_EXCEEDED: u16 = 4;
const UNAVAILABLE: u16 = 14;

/// One row at a time, each pass longer than a test waits for an event, so that queued requests never run.
const ENDLESS: Synthetic = Synthetic {
    width: 4,
    base: Duration::from_secs(5),
    max_batch_size: 1,
    max_queue_size: 4096,
    versions: 1,
    load_time: Duration::ZERO,
};

fn request() -> ModelInferRequest {
    infer::message("m", 1, 4, 0.0)
}

/// Waits until the worker has so many requests, all but the running one in its queue.
async fn arrived(fleet: &mut Fleet, count: u64) {
    let worker = fleet.worker("a").unwrap();
    eventually("the requests at the worker", async || {
        let (in_flight, queued) = (worker.in_flight().await?, worker.queued().await?);
        ensure!(in_flight == count && queued + 1 >= count, "{in_flight} in flight, {queued} queued");
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until nothing is left, and checks that what was queued never ran.
async fn left_nothing(fleet: &mut Fleet, started: u64) {
    let worker = fleet.worker("a").unwrap();
    eventually("an empty queue", async || {
        let queued = worker.queued().await?;
        ensure!(queued == 0, "{queued} rows queued");
        Ok(())
    })
    .await
    .unwrap();
    fleet.idle().await.unwrap();
    let worker = fleet.worker("a").unwrap().client();
    let statistics = worker.get("/v2/models/m/stats").await.unwrap().json().unwrap();
    let ran = statistics["model_stats"][0]["execution_count"].as_u64().unwrap();
    assert!(ran <= started, "{ran} passes, at most {started} could have begun: {statistics}");
}

#[tokio::test]
async fn clients_that_cancel_leave_the_queue_and_hold_nothing() {
    let mut fleet = Fleet::serving(&ENDLESS, &["a"]).await.unwrap();
    for (round, (_, grpc)) in both(&mut fleet).into_iter().enumerate() {
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let grpc = grpc.clone();
            calls.spawn(async move { grpc.infer(&request()).await.map(|_| ()) });
        }
        arrived(&mut fleet, 8).await;
        calls.shutdown().await;
        left_nothing(&mut fleet, round as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_stream_that_its_client_cancels_takes_all_its_requests_with_it() {
    let mut fleet = Fleet::serving(&ENDLESS, &["a"]).await.unwrap();
    for (round, (_, grpc)) in both(&mut fleet).into_iter().enumerate() {
        let stream = grpc.stream(&vec![request(); 8]);
        arrived(&mut fleet, 8).await;
        drop(stream);
        left_nothing(&mut fleet, round as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_holds_nothing() {
    let mut fleet = Fleet::serving(&ENDLESS, &["a"]).await.unwrap();
    let addresses = both(&mut fleet).map(|(_, grpc)| grpc.address());
    for (round, address) in addresses.into_iter().enumerate() {
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let frame = wire::frame(&request().encode_to_vec());
            let request = wire::request(address, &path("ModelInfer"), frame).unwrap();
            calls.spawn(async move { wire::send(address, request).await.map(|_| ()) });
        }
        arrived(&mut fleet, 4).await;
        // Each has its connection, which goes with it.
        calls.shutdown().await;
        left_nothing(&mut fleet, round as u64 + 1).await;
    }
}

/// A way to say how long one may take: headers, and a parameter of the request.
struct Limit {
    name: &'static str,
    headers: &'static [(&'static str, &'static str)],
    timeout: Option<ParameterChoice>,
}

fn limits() -> Vec<Limit> {
    let header = |name, headers| Limit { name, headers, timeout: None };
    let parameter = |name, choice| Limit { name, headers: &[], timeout: Some(choice) };
    vec![
        header("grpc-timeout in milliseconds", &[("grpc-timeout", "300m")]),
        header("grpc-timeout in microseconds", &[("grpc-timeout", "300000u")]),
        header("the smaller of two", &[("grpc-timeout", "50S"), ("x-timeout-ms", "300")]),
        parameter("timeout, int64", ParameterChoice::Int64Param(300_000)),
        parameter("timeout, uint64", ParameterChoice::Uint64Param(300_000)),
        parameter("timeout, double", ParameterChoice::DoubleParam(300_000.0)),
        parameter("timeout, text", ParameterChoice::StringParam("300000".to_owned())),
    ]
}

async fn ask(grpc: &GrpcClient, limit: &Limit) -> anyhow::Result<wire::WireReply> {
    let mut message = request();
    let choice = |choice: &ParameterChoice| InferParameter { parameter_choice: Some(choice.clone()) };
    message.parameters.extend(limit.timeout.iter().map(|it| ("timeout".to_owned(), choice(it))));
    let frame = wire::frame(&message.encode_to_vec());
    let mut request = wire::request(grpc.address(), &path("ModelInfer"), frame)?;
    for (name, value) in limit.headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    wire::send(grpc.address(), request).await
}

#[tokio::test]
async fn a_deadline_that_cannot_be_met_is_told_however_it_was_named() {
    let mut fleet = Fleet::serving(&ENDLESS, &["a"]).await.unwrap();
    // Keeps the lane busy for longer than any of the others has.
    let busy = fleet.worker("a").unwrap().grpc().unwrap();
    let running = busy.stream(&vec![request(); 20]);
    arrived(&mut fleet, 20).await;
    let mut problems = Vec::new();
    for (place, grpc) in both(&mut fleet) {
        for limit in limits() {
            let reply = ask(&grpc, &limit).await;
            let told = reply.and_then(|reply| reply.is_error(UNAVAILABLE, "shed"));
            problems.extend(told.err().map(|error| format!("{place}, {}: {error:#}", limit.name)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    drop(running);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_deadline_ends_a_stream_too() {
    let mut fleet = Fleet::serving(&ENDLESS, &["a"]).await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let mut open = Request::new(());
        open.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
        let mut stream = grpc.stream_with(open, &[request(), request()]);
        // What it had read may be answered, each with the deadline; then the stream ends with it.
        let end = loop {
            match stream.next().await {
                Ok(Some(answer)) => assert!(!answer.error_message.is_empty(), "{place}: {answer:?}"),
                Ok(None) => panic!("{place}: the stream ended well"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), tonic::Code::DeadlineExceeded, "{place}: {end:?}");
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_has_passed_already_or_makes_no_sense_is_answered_at_once() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        for (value, status, reason) in [
            ("0m", DEADLINE_EXCEEDED, "deadline"),
            ("soon", 3, "bad-request"),
            ("123456789S", 3, "bad-request"),
        ] {
            let frame = wire::frame(&request().encode_to_vec());
            let mut request = wire::request(grpc.address(), &path("ModelInfer"), frame).unwrap();
            request.headers_mut().insert("grpc-timeout", value.parse().unwrap());
            let reply = wire::send(grpc.address(), request).await.unwrap();
            reply.is_error(status, reason).unwrap_or_else(|error| panic!("{place}, {value}: {error:#}"));
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_ended_and_holds_nothing() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = "[limits]\nbody_timeout = \"500ms\"".to_owned();
    builder.worker(worker);
    builder.gateway.timeouts += "\nbody = \"500ms\"\nidle = \"500ms\"";
    let mut fleet = builder.start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let whole = wire::frame(&request().encode_to_vec());
        let half = whole.slice(..whole.len() / 2);
        let request = wire::request(grpc.address(), &path("ModelInfer"), half).unwrap();
        let reply = wire::send_and_wait(grpc.address(), request).await.unwrap();
        reply.is_error(DEADLINE_EXCEEDED, "body-too-slow").unwrap_or_else(|e| panic!("{place}: {e:#}"));
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_first_message_is_coming_is_told_as_the_deadline() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let address = fleet.gateway.grpc().unwrap().address();
    let whole = wire::frame(&request().encode_to_vec());
    for method in ["ModelInfer", "ModelStreamInfer", "ModelStatistics"] {
        // A stream may be open before anything of it comes.
        for part in [whole.slice(..whole.len() / 2), Bytes::new()] {
            let mut request = wire::request(address, &path(method), part).unwrap();
            request.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
            let reply = wire::send_and_wait(address, request).await.unwrap();
            reply.is_error(DEADLINE_EXCEEDED, "deadline").unwrap_or_else(|e| panic!("{method}: {e:#}"));
        }
    }
    fleet.idle().await.unwrap();
}
