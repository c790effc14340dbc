//! More than the worker can take: every refusal is told at once, and nothing that was accepted is lost.

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_batching::QueueSettings;

use super::fixture::{ECHO_ROW, Running, queue};

/// Bodies of all requests together may be as large as one.
const TIGHT: &str = "[limits]\nbody_bytes = \"64 KiB\"\nbody_total_bytes = \"64 KiB\"";

/// [`ECHO_ROW`] as a body of 40 KiB.
fn padded() -> String {
    format!("{ECHO_ROW:<40960}")
}

/// Waits until bodies of so many bytes are in hand.
async fn held(running: &Running, bytes: u64) {
    while running.worker.bodies.held().0 != bytes {
        tokio::task::yield_now().await;
    }
}

const LIMITS: QueueSettings = queue(4, 2);

/// Two rows of `echo`.
const TWO_ROWS: &str = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}"#;

#[tokio::test]
async fn a_full_queue_refuses_and_what_is_queued_is_served() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let send = |body: &'static str| {
        let address = running.connect();
        async move { address.await.post("/v2/models/echo/infer", body).await }
    };
    let mut connection = running.connect().await;
    let first = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    let mut connection = running.connect().await;
    let second = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    running.queued(1).await;
    let refused = send(TWO_ROWS).await;
    assert_eq!((refused.status, refused.header("weir-reason")), (503, "queue-full"));
    assert_eq!((refused.header("weir-refused"), refused.header("retry-after")), ("queue-full", "1"));
    let mut connection = running.connect().await;
    let third = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    running.queued(2).await;
    assert_eq!(
        send("this is not even read").await.status,
        503,
        "a full queue refuses before the body is read"
    );
    gate.open(2);
    for reply in [first, second, third] {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    let text = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    let refused = r#"weir_worker_requests_total{model="echo",version="1",outcome="queue-full"} 2"#;
    assert!(text.contains(refused), "both in the model's name: {text}");
    let page = running.get("/v2/models/echo/stats").await.json();
    assert_eq!(page["model_stats"][0]["inference_stats"]["fail"]["count"], 2, "{page}");
}

#[tokio::test]
async fn the_limit_of_requests_in_flight_refuses_the_next_one() {
    let (running, gate) = Running::gated("[limits]\nin_flight = 1", LIMITS).await;
    let mut connection = running.connect().await;
    let first = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    let refused = running.post("/v2/models/echo/infer", ECHO_ROW).await;
    assert_eq!((refused.status, refused.header("weir-refused")), (503, "queue-full"));
    gate.open(2);
    assert_eq!(first.await.unwrap().status, 200);
    running.in_flight(0).await;
    running.assert_serves().await;
}

#[tokio::test]
async fn a_request_whose_deadline_passes_is_answered_although_its_forward_pass_goes_on() {
    for (name, value, body) in [
        ("weir-deadline-us", "2000", ECHO_ROW.to_owned()),
        ("x-timeout-ms", "2", ECHO_ROW.to_owned()),
        ("x-timeout-ms", "60000", ECHO_ROW.replacen('{', r#"{"parameters":{"timeout":2000},"#, 1)),
    ] {
        let (running, gate) = Running::gated("", LIMITS).await;
        let late = running.send(Request::post("/v2/models/echo/infer").header(name, value), body).await;
        assert_eq!((late.status, late.header("weir-reason")), (504, "deadline"), "{name}");
        running.in_flight(0).await;
        gate.open(1);
    }
}

#[tokio::test]
async fn requests_that_wait_together_run_together() {
    let limits = queue(4, 64);
    let (running, gate) = Running::gated("", limits).await;
    let mut replies = Vec::new();
    for queued in 0..5 {
        let mut connection = running.connect().await;
        replies.push(running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await }));
        if queued == 0 {
            gate.entered().await;
        } else {
            running.queued(queued).await;
        }
    }
    gate.open(2);
    for reply in replies {
        assert_eq!(reply.await.unwrap().json()["outputs"][0]["data"], serde_json::json!([1.5, -2.0]));
    }
    let text = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(text.contains(r#"weir_worker_batch_rows_sum{model="echo",version="1"} 5"#), "{text}");
    assert!(text.contains(r#"weir_worker_batch_rows_count{model="echo",version="1"} 2"#), "{text}");
}

#[tokio::test]
async fn bodies_are_refused_while_those_in_hand_leave_no_room_for_them() {
    let (running, gate) = Running::gated(TIGHT, LIMITS).await;
    let mut connection = running.connect().await;
    let first = running.spawn(async move { connection.post("/v2/models/echo/infer", padded()).await });
    gate.entered().await;
    held(&running, 40_960).await;
    let promised = running.post("/v2/models/echo/infer", padded()).await;
    assert_eq!((promised.status, promised.header("weir-reason")), (503, "memory"));
    assert_eq!((promised.header("weir-refused"), promised.header("retry-after")), ("memory", "1"));
    let mut chunked = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\na000\r\n";
    chunked.write_all(format!("{head}{}", padded()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    chunked.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("weir-refused: memory"), "{answer}");
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    for line in [r#"weir_worker_refused_total{reason="memory"} 2"#, "weir_worker_body_bytes 40960"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    gate.open(2);
    assert_eq!(first.await.unwrap().status, 200);
    held(&running, 0).await;
    assert_eq!(running.post("/v2/models/echo/infer", padded()).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_still_arriving_counts_until_its_client_hangs_up() {
    let (running, gate) = Running::gated(TIGHT, LIMITS).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ncontent-length: 50000\r\n\r\n";
    slow.write_all(format!("{head}{}", padded()).as_bytes()).await.unwrap();
    held(&running, 40_960).await;
    assert_eq!(running.post("/v2/models/echo/infer", padded()).await.header("weir-refused"), "memory");
    drop(slow);
    held(&running, 0).await;
    gate.open(1);
    assert_eq!(running.post("/v2/models/echo/infer", padded()).await.status, 200);
}
