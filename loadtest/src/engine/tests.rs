//! The engine against a small server in this process, whose answers the test holds back at will.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket},
};

use super::*;
use crate::{Call, Encoding, InputSpec, Process};

const RESULT: &str = r#"{"model_name":"m","model_version":"1",
    "outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1.0]}]}"#;

/// Answers when the gate has a permit for it: a result, or whatever `answer` says.
async fn server(gate: Arc<Semaphore>, answer: fn() -> Response<Full<Bytes>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let gate = gate.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(answer())
                }
            });
            tasks.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn result() -> Response<Full<Bytes>> {
    Response::builder().header("weir-served", "m;1;w").body(Full::from(RESULT)).unwrap()
}

fn plan(address: SocketAddr, requests: u64, connections: usize) -> Plan {
    let input: InputSpec = "x:FP32:1x2".parse().unwrap();
    let call = Call::of("m".parse().unwrap());
    Plan {
        target: address.into(),
        payload: Payload::random(call, &[input], Encoding::Json, 1).unwrap(),
        schedule: Schedule::new(Process::Constant, 1_000.0, requests, 1).unwrap(),
        connections,
        timeout: Duration::from_secs(30),
        deadline: None,
    }
}

#[tokio::test]
async fn every_request_is_answered_and_counted_by_worker() {
    let gate = Arc::new(Semaphore::new(100));
    let report = Run::start(plan(server(gate, result).await, 100, 50)).unwrap().finish().await;
    assert_eq!((report.requests, report.sent, report.ok, report.lost), (100, 100, 100, 0), "{report}");
    assert_eq!(report.workers, [("w".to_owned(), 100)].into());
}

#[tokio::test]
async fn a_stalled_server_shows_in_the_latency_of_everything_due_meanwhile() {
    let gate = Arc::new(Semaphore::new(0));
    let run = Run::start(plan(server(gate.clone(), result).await, 51, 51)).unwrap();
    run.due(51).await;
    gate.add_permits(51);
    let report = run.finish().await;
    assert_eq!(report.ok, 51, "{report}");
    // The first was due 50 ms before the last, the median one 25 ms: no answer came before the last was due.
    assert!(report.latency_ms.max >= 49.9 && report.latency_ms.p50 >= 24.9, "{report}");
}

#[tokio::test]
async fn a_request_beyond_the_connections_is_not_sent_rather_than_sent_late() {
    let gate = Arc::new(Semaphore::new(0));
    let run = Run::start(plan(server(gate.clone(), result).await, 10, 3)).unwrap();
    run.due(10).await;
    assert_eq!(run.progress(), Progress { due: 10, finished: 7, lost: 7, in_flight: 3 });
    gate.add_permits(10);
    let report = run.finish().await;
    assert_eq!((report.sent, report.not_sent, report.ok, report.lost), (3, 7, 3, 7), "{report}");
}

#[tokio::test]
async fn a_stopped_run_reports_what_was_due() {
    let gate = Arc::new(Semaphore::new(1_000));
    let mut endless = plan(server(gate, result).await, 10, 10);
    // The second request is due in a million seconds.
    endless.schedule = Schedule::new(Process::Constant, 1e-6, 10, 1).unwrap();
    let run = Run::start(endless).unwrap();
    run.due(1).await;
    run.stop();
    let report = run.finish().await;
    assert_eq!((report.requests, report.ok, report.lost), (1, 1, 0), "{report}");
}

#[tokio::test]
async fn an_answer_that_is_no_result_is_lost() {
    let gate = Arc::new(Semaphore::new(1_000));
    let address = server(gate.clone(), || Response::new(Full::from("ok"))).await;
    let report = Run::start(plan(address, 5, 5)).unwrap().finish().await;
    assert_eq!((report.malformed, report.lost), (5, 5), "{report}");

    let refuse =
        || Response::builder().status(503).header("weir-reason", "draining").body(Full::default()).unwrap();
    let report = Run::start(plan(server(gate, refuse).await, 5, 5)).unwrap().finish().await;
    assert_eq!((report.statuses, report.lost), ([(503, 5)].into(), 5));
    assert_eq!(report.reasons, [("draining".to_owned(), 5)].into());
}

#[tokio::test]
async fn a_request_whose_connection_breaks_is_lost_and_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicU64::new(0));
    let (tasks, count) = (TaskTracker::new(), came.clone());
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // It has read a part of the request when it ends the connection.
            count.fetch_add(u64::from(stream.read_u8().await.is_ok()), SeqCst);
        }
    });
    let report = Run::start(plan(address, 20, 20)).unwrap().finish().await;
    assert_eq!((report.sent, report.lost, came.load(SeqCst)), (20, 20, 20), "{report}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_silent_is_an_error_by_kind() {
    // Bound and never listening: nobody else gets the port, and connections to it are refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let report = Run::start(plan(socket.local_addr().unwrap(), 3, 3)).unwrap().finish().await;
    assert_eq!(report.errors, [("connect".to_owned(), 3)].into());

    let mut silent = plan(server(Arc::new(Semaphore::new(0)), result).await, 3, 3);
    silent.timeout = Duration::from_millis(20);
    let report = Run::start(silent).unwrap().finish().await;
    assert_eq!(report.errors, [("timeout".to_owned(), 3)].into());
}

#[tokio::test]
async fn a_deadline_is_sent_as_the_time_left_and_results_in_time_are_counted() {
    let gate = Arc::new(Semaphore::new(0));
    let mut plan = plan(server(gate.clone(), result).await, 21, 21);
    plan.deadline = Some(Duration::from_millis(10));
    let run = Run::start(plan).unwrap();
    run.due(21).await;
    gate.add_permits(21);
    let report = run.finish().await;
    // Requests are due 1 ms apart and no answer came before the last was due: the first ones are late.
    assert_eq!((report.ok, report.deadline_ms), (21, Some(10.0)), "{report}");
    assert!(report.in_time <= Some(11), "{report}");
}

#[tokio::test]
async fn every_request_says_how_much_time_it_has_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = plan(listener.local_addr().unwrap(), 1, 1);
    plan.deadline = Some(Duration::from_secs(10));
    let run = Run::start(plan).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        stream.read_buf(&mut head).await.unwrap();
    }
    let head = String::from_utf8_lossy(&head);
    let left = head.lines().find_map(|line| line.strip_prefix("x-timeout-ms: ")).unwrap();
    // Some of it has passed, so it is less than all of it.
    assert!((1..10_000).contains(&left.parse::<u64>().unwrap()), "{left}");
    drop(stream);
    run.finish().await;
}
