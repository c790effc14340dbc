//! What no client may do to the worker over gRPC: every limit answers with its status, and the worker goes on.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use weir_protocol::grpc::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    model_infer_request::InferInputTensor,
};

use super::client::{Client, flagged, framed, path, post, row};
use crate::tests::fixture::{Repository, Running, queue};

const TIGHT: &str = "[limits]\nbody_bytes = \"64 KiB\"\nbody_total_bytes = \"64 KiB\"";

fn infer() -> http::request::Builder {
    post(&path("ModelInfer"))
}

/// A request of so many bytes and more, those in an id.
fn padded(bytes: usize) -> ModelInferRequest {
    row(&"x".repeat(bytes), [1.0, 2.0])
}

/// The same request with its elements in the field of their type.
fn typed(mut request: ModelInferRequest) -> ModelInferRequest {
    request.raw_input_contents.clear();
    for input in &mut request.inputs {
        input.contents = Some(InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() });
    }
    request
}

async fn held(running: &Running, bytes: u64) {
    while running.worker.bodies.held().0 != bytes {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_the_connection_goes_on() {
    let running = Running::with(Repository::echo(), TIGHT).await;
    let client = Client::connect(&running).await;
    for bytes in [70_000, 3_000_000] {
        let refused = client.unary("ModelInfer", &padded(bytes)).await;
        assert_eq!(refused.refused(), (8, "body-too-large", ""), "{bytes}");
        assert_eq!(client.infer(&padded(40_000)).await.id.len(), 40_000);
    }
    held(&running, 0).await;
}

#[tokio::test]
async fn only_inferences_have_large_messages() {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    let asks = |bytes| ModelMetadataRequest { name: "x".repeat(bytes), version: String::new() };
    assert_eq!(client.unary("ModelMetadata", &asks(1 << 20)).await.refused(), (8, "body-too-large", ""));
    assert_eq!(client.unary("ModelMetadata", &asks(1 << 19)).await.refused(), (3, "bad-request", ""));
    assert_eq!(client.infer(&padded(1 << 20)).await.id.len(), 1 << 20);
}

#[tokio::test]
async fn a_message_that_inflates_too_far_is_refused() {
    let running = Running::with(Repository::echo(), "[limits]\nbody_bytes = \"64 KiB\"").await;
    let client = Client::connect(&running).await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&padded(8 << 20).encode_to_vec()).unwrap();
    let small = encoder.finish().unwrap();
    assert!(small.len() < 60_000);
    let answer = client.send(infer().header("grpc-encoding", "gzip"), flagged(1, &small)).await;
    assert_eq!(answer.refused(), (8, "body-too-large", ""));
    held(&running, 0).await;
}

#[tokio::test]
async fn messages_are_refused_while_bodies_in_hand_leave_no_room() {
    for message in [padded(40_000), typed(padded(40_000))] {
        let limits = queue(4, 2);
        let (running, gate) = Running::gated(TIGHT, limits).await;
        let client = Client::connect(&running).await;
        let mut first = client.open(infer());
        first.send(&message);
        first.close();
        let first = running.spawn(async move { first.next::<ModelInferResponse>().await });
        gate.entered().await;
        assert_eq!(client.unary("ModelInfer", &message).await.refused(), (14, "memory", "memory"));
        gate.open(2);
        assert!(first.await.unwrap().is_some());
        held(&running, 0).await;
        client.infer(&message).await;
        let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
        assert!(metrics.contains(r#"weir_worker_refused_total{reason="memory"} 1"#), "{metrics}");
    }
}

#[tokio::test]
async fn messages_that_become_large_are_refused_before_they_are_decoded() {
    let running = Running::with(Repository::echo(), TIGHT).await;
    let client = Client::connect(&running).await;
    let many = InferTensorContents { uint64_contents: vec![1; 20_000], ..Default::default() };
    let mut wide = typed(row("", [1.0, 2.0]));
    wide.inputs[0].contents = Some(many);
    assert!(wide.encoded_len() < 30_000);
    assert_eq!(client.unary("ModelInfer", &wide).await.refused(), (14, "memory", "memory"));
    let mut tensors = row("", [1.0, 2.0]);
    tensors.inputs = vec![InferInputTensor::default(); 257];
    let refused = client.unary("ModelInfer", &tensors).await;
    assert_eq!(refused.refused(), (3, "bad-request", ""));
    assert_eq!(refused.header("grpc-message"), "more%20than%20256%20inputs");
    held(&running, 0).await;
    client.infer(&row("", [1.0, 2.0])).await;
}

#[tokio::test]
async fn a_shape_of_countless_dimensions_makes_no_long_answer() {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    let mut message = row("", [1.0, 2.0]);
    message.inputs[0].shape = vec![1; 100_000];
    let refused = client.unary("ModelInfer", &message).await;
    assert_eq!(refused.refused(), (3, "bad-request", ""));
    assert_eq!(refused.header("grpc-message"), "tensor%20'x':%20more%20than%2064%20dimensions");
}

#[tokio::test]
async fn a_client_that_stops_within_a_message_is_told_and_let_go() {
    let running = Running::with(Repository::echo(), "[limits]\nbody_timeout = \"20ms\"").await;
    let client = Client::connect(&running).await;
    let whole = framed(&row("", [1.0, 2.0]));
    for (method, sent) in [("ModelInfer", 0), ("ModelInfer", 3), ("ModelInfer", 20), ("ModelStreamInfer", 3)]
    {
        let mut call = client.open(post(&path(method)));
        call.send_bytes(whole.slice(..sent));
        assert_eq!(call.end().await, (4, "body-too-slow".to_owned()), "{method} {sent}");
    }
    held(&running, 0).await;
}

#[tokio::test]
async fn a_stream_may_be_silent_between_messages() {
    let running = Running::with(Repository::echo(), "[limits]\nbody_timeout = \"1ms\"").await;
    let client = Client::connect(&running).await;
    let mut call = client.stream();
    call.send(&row("first", [1.0, 2.0]));
    assert_eq!(call.response().await.id, "first");
    // Somebody else's silence is at an end: ours was longer.
    let mut slow = client.open(infer());
    slow.send_bytes(Bytes::from_static(&[0]));
    assert_eq!(slow.end().await.0, 4);
    call.send(&row("second", [1.0, 2.0]));
    assert_eq!(call.response().await.id, "second");
}

#[tokio::test]
async fn bodies_that_are_not_one_message_are_refused() {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    let whole = framed(&row("", [1.0, 2.0]));
    let twice = [whole.clone(), whole.clone()].concat().into();
    let data = &whole[5..];
    for (body, words) in [
        (Bytes::new(), "expected one message"),
        (twice, "expected one message"),
        (whole.slice(..3), "ends within a message"),
        (whole.slice(..whole.len() - 1), "ends within a message"),
        (flagged(2, data), "not made of gRPC messages"),
        (flagged(1, data), "without grpc-encoding"),
        (flagged(0, b"\xff\xff\xff"), "cannot read the message"),
        (flagged(0, b"\x0a\x02\xff\xfe"), "cannot read the message"),
    ] {
        let answer = client.send(infer(), body).await;
        assert_eq!(answer.refused(), (3, "bad-request", ""));
        let message = answer.header("grpc-message").replace("%20", " ");
        assert!(message.contains(words), "{words}: {message}");
    }
    let gzip = client.send(infer().header("grpc-encoding", "gzip"), flagged(1, b"plain")).await;
    assert_eq!(gzip.refused(), (3, "bad-request", ""));
    client.infer(&row("", [1.0, 2.0])).await;
}
