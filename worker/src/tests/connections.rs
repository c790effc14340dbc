//! Bodies and connections: limits, silence, encodings, answers that overtake the body, clients that hang up.

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_batching::QueueSettings;

use super::fixture::{ECHO_ROW, Repository, Running, queue};
use crate::http::HEAD_TIMEOUT;

const LIMITS: QueueSettings = queue(4, 64);

/// Writes `head` and as much of `body` as the worker takes, and returns what the worker says until it closes.
async fn converse(running: &Running, head: &str, body: &[u8]) -> String {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (head, body) = (head.as_bytes().to_vec(), body.to_vec());
    let written = running.spawn(async move {
        // Fails when the worker has closed: what counts is that its answer arrives all the same.
        let _ = writer.write_all(&head).await;
        let _ = writer.write_all(&body).await;
        writer
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    drop(written);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_with_413_however_it_is_framed() {
    let running = Running::with(Repository::echo(), "[limits]\nbody_bytes = \"64 KiB\"").await;
    let body = vec![b' '; 8 << 20];
    let sized =
        format!("POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
    let chunked =
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n800000\r\n";
    for head in [sized.as_str(), chunked] {
        let answer = converse(&running, head, &body).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("weir-reason: body-too-large") && answer.contains("connection: close"));
        assert!(answer.contains("at most 64.0 KiB"), "{answer}");
    }
    running.assert_serves().await;
}

#[tokio::test]
async fn an_answer_that_overtakes_a_large_body_arrives_and_closes() {
    let running = Running::start(Repository::echo()).await;
    let body = vec![0; 20 << 20];
    let head =
        format!("POST /v2/models/none/infer HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = converse(&running, &head, &body).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("{\"error\":\"unknown model 'none'\"}"), "{answer}");
}

#[tokio::test]
async fn a_refusal_with_a_small_body_keeps_the_connection() {
    let running = Running::start(Repository::echo()).await;
    let mut connection = running.connect().await;
    for _ in 0..3 {
        assert_eq!(connection.post("/v2/models/none/infer", vec![b'x'; 60 << 10]).await.status, 404);
    }
    assert_eq!(connection.post("/v2/models/echo/infer", ECHO_ROW).await.status, 200);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_with_408() {
    let running = Running::with(Repository::echo(), "[limits]\nbody_timeout = \"50ms\"").await;
    let head = "POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n";
    let answer = converse(&running, head, b"{\"inputs\"").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("weir-reason: body-too-slow"), "{answer}");
    running.assert_serves().await;
}

#[tokio::test]
async fn a_large_json_body_in_many_pieces_is_read_whole() {
    let running = Running::start(Repository::echo()).await;
    let padded = format!("{}{ECHO_ROW}", " ".repeat(3 << 20));
    let reply = running.post("/v2/models/echo/infer", padded).await;
    assert_eq!(reply.json()["outputs"][0]["data"], serde_json::json!([1.5, -2.0]));
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_its_request_out_of_the_queue() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let mut first = running.connect().await;
    let first = running.spawn(async move { first.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
        ECHO_ROW.len()
    );
    stream.write_all(format!("{head}{ECHO_ROW}").as_bytes()).await.unwrap();
    running.queued(1).await;
    drop(stream);
    running.in_flight(1).await;
    gate.open(2);
    assert_eq!(first.await.unwrap().status, 200);
    running.assert_serves().await;
    let passes = running.get("/metrics").await;
    let text = String::from_utf8(passes.body.to_vec()).unwrap();
    let count = r#"weir_worker_forward_seconds_count{model="echo",version="1"} 2"#;
    assert!(text.contains(count), "the request of the client that hung up ran:\n{text}");
}

#[tokio::test]
async fn an_answer_tells_the_clients_own_request_id() {
    let running = Running::start(Repository::echo()).await;
    for path in ["/v2/models/echo/infer", "/v2/models/none/infer"] {
        let request = Request::post(path).header("x-request-id", "abc-1");
        assert_eq!(running.send(request, ECHO_ROW).await.header("x-request-id"), "abc-1");
    }
}

#[tokio::test]
async fn a_client_that_begins_with_http2_is_served_on_one_connection() {
    let running = Running::start(Repository::echo()).await;
    let mut connection = running.connect_http2().await;
    let post = |path: &str, body: &'static str| {
        let request = Request::post(format!("http://test{path}"));
        request.body(http_body_util::Full::new(body.into())).unwrap()
    };
    for (path, status) in
        [("/v2/models/echo/infer", 200), ("/v2/models/none/infer", 404), ("/v2/models/echo/infer", 200)]
    {
        let reply = connection.send_request(post(path, ECHO_ROW)).await.unwrap();
        assert_eq!(reply.status().as_u16(), status);
    }
    running.stop();
    running.worker.shutdown.reached(crate::shutdown::Phase::Draining).await;
    let reply = connection.send_request(post("/v2/models/echo/infer", ECHO_ROW)).await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["weir-refused"].to_str().unwrap()),
        (503, "draining")
    );
    running.ended().await;
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_their_order() {
    let running = Running::start(Repository::echo()).await;
    let post = |path: &str, close: &str| {
        let length = ECHO_ROW.len();
        format!("POST {path} HTTP/1.1\r\nhost: t\r\n{close}content-length: {length}\r\n\r\n{ECHO_ROW}")
    };
    let all = [
        post("/v2/models/echo/infer", ""),
        post("/v2/models/none/infer", ""),
        post("/v2/models/echo/versions/1/infer", "connection: close\r\n"),
    ];
    let answers = converse(&running, &all.concat(), b"").await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{answers}");
}

#[tokio::test]
async fn a_large_result_is_written_as_json_whole() {
    let model = super::fixture::ECHO.replace("[-1, 2]", "[-1, -1]");
    let running = Running::start(Repository::new().with("wide", &model, &[1])).await;
    let values: Vec<u32> = (0..300_000).collect();
    let body = serde_json::json!({
        "inputs": [{ "name": "x", "shape": [1, values.len()], "datatype": "FP32", "data": values }],
    });
    let reply = running.post("/v2/models/wide/infer", body.to_string()).await;
    let output = &reply.json()["outputs"][0];
    assert_eq!(output["shape"], serde_json::json!([1, values.len()]));
    let given: Vec<f64> = serde_json::from_value(output["data"].clone()).unwrap();
    assert!(given.iter().zip(&values).all(|(given, sent)| *given == f64::from(*sent)));
    assert_eq!(given.len(), values.len());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_what_it_speaks_is_closed() {
    let running = Running::unloaded(Repository::echo(), "", false).await;
    for first_bytes in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(first_bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(HEAD_TIMEOUT * 2, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{first_bytes:?} holds its connection");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_take_longer_than_its_head_might_have() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let mut connection = running.connect().await;
    let reply = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    tokio::time::advance(HEAD_TIMEOUT * 2).await;
    gate.open(1);
    assert_eq!(reply.await.unwrap().status, 200);
}
