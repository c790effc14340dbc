//! ModelInfer: the same inference as over REST, with gRPC's deadlines, cancellation and compression.

use std::{
    io::{Read, Write},
    time::Duration,
};

use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use prost::Message;
use weir_batching::{BatchCost, QueueSettings, ShapeKey};
use weir_protocol::grpc::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice, model_infer_request::InferRequestedOutputTensor,
};

use super::client::{Client, flagged, framed, path, pieces, post, row, values};
use crate::tests::fixture::{Repository, Running, queue};

const LIMITS: QueueSettings = queue(4, 2);

async fn started() -> (Running, Client) {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    (running, client)
}

fn infer() -> http::request::Builder {
    post(&path("ModelInfer"))
}

#[tokio::test]
async fn raw_and_typed_elements_give_the_same_raw_answer() {
    let (running, client) = started().await;
    let raw = row("id-7", [1.5, -2.0]);
    let mut typed = ModelInferRequest { raw_input_contents: Vec::new(), ..raw.clone() };
    typed.inputs[0].contents =
        Some(InferTensorContents { fp32_contents: vec![1.5, -2.0], ..Default::default() });
    let mut named = raw.clone();
    named.outputs.push(InferRequestedOutputTensor { name: "y".into(), ..Default::default() });
    for message in [raw, typed, named] {
        let answer = client.send(infer().header("x-request-id", "mine"), framed(&message)).await;
        assert_eq!((answer.header("weir-served"), answer.header("x-request-id")), ("echo;1;w-1", "mine"));
        let response: ModelInferResponse = answer.message();
        assert_eq!((&*response.model_name, &*response.model_version, &*response.id), ("echo", "1", "id-7"));
        let output = &response.outputs[0];
        assert_eq!((&*output.name, &*output.datatype, &output.shape), ("y", "FP32", &vec![1, 2]));
        assert_eq!((values(&response), &output.contents), (vec![1.5, -2.0], &None));
    }
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"requests_total{model="echo",version="1",outcome="ok"} 3"#), "{metrics}");
}

#[tokio::test]
async fn mistakes_are_the_clients_and_told_in_the_models_name() {
    let (running, client) = started().await;
    let mut unknown_input = row("", [1.0, 2.0]);
    unknown_input.inputs[0].name = "z".into();
    let mut sequence = row("", [1.0, 2.0]);
    let id = InferParameter { parameter_choice: Some(ParameterChoice::Uint64Param(5)) };
    sequence.parameters.insert("sequence_id".into(), id);
    let mut version = row("", [1.0, 2.0]);
    version.model_version = "2".into();
    for (message, expected, served) in [
        (unknown_input, (3, "bad-request", ""), "echo;1;w-1"),
        (sequence, (3, "bad-request", ""), "echo;1;w-1"),
        (
            ModelInferRequest { model_name: "echo".into(), ..Default::default() },
            (3, "bad-request", ""),
            "echo;1;w-1",
        ),
        (ModelInferRequest::default(), (3, "bad-request", ""), ""),
        (version, (5, "version-not-found", ""), ""),
    ] {
        let answer = client.unary("ModelInfer", &message).await;
        assert_eq!((answer.refused(), answer.header("weir-served")), (expected, served), "{message:?}");
    }
    running.in_flight(0).await;
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let (_running, client) = started().await;
    let message = row("pieces", [3.0, 4.0]);
    for size in [1, 4, 7, 64] {
        let mut call = client.open(infer());
        for piece in pieces(&framed(&message), size) {
            call.send_bytes(piece);
        }
        call.close();
        let response: ModelInferResponse = call.next().await.unwrap();
        assert_eq!(values(&response), [3.0, 4.0], "{size}");
    }
}

#[tokio::test]
async fn compressed_messages_are_answered_compressed_alike() {
    let (_running, client) = started().await;
    let plain = row("", [1.5, -2.0]).encode_to_vec();
    let gzip = |data: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).and_then(|()| encoder.finish()).unwrap()
    };
    let deflate = |data: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).and_then(|()| encoder.finish()).unwrap()
    };
    let inflate = |coding: &str, data: &[u8]| {
        let mut plain = Vec::new();
        match coding {
            "gzip" => GzDecoder::new(data).read_to_end(&mut plain).unwrap(),
            _ => ZlibDecoder::new(data).read_to_end(&mut plain).unwrap(),
        };
        ModelInferResponse::decode(&plain[..]).unwrap()
    };
    for (coding, data) in [("gzip", gzip(&plain)), ("deflate", deflate(&plain))] {
        let answer = client.send(infer().header("grpc-encoding", coding), flagged(1, &data)).await;
        assert_eq!((answer.status(), answer.header("grpc-encoding")), (0, coding));
        assert_eq!(answer.body[0], 1);
        assert_eq!(values(&inflate(coding, &answer.body[5..])), [1.5, -2.0]);
        let request = infer().header("grpc-encoding", coding).header("grpc-accept-encoding", "identity");
        let answer = client.send(request, flagged(0, &plain)).await;
        assert_eq!(answer.header("grpc-encoding"), "");
        assert_eq!(values(&answer.message()), [1.5, -2.0]);
    }
}

#[tokio::test]
async fn a_gateways_route_runs_what_it_says_if_the_message_says_what_the_gateway_read() {
    let (_running, client) = started().await;
    let routed = async |route: &str, model: &str, version: &str| {
        let (model_name, model_version) = (model.into(), version.into());
        let message = ModelInferRequest { model_name, model_version, ..row("", [1.0, 2.0]) };
        client
            .send(infer().header("weir-route", route).header("weir-request-id", "r"), framed(&message))
            .await
    };
    for (route, model, version) in
        [("vision;stable;echo;1", "vision", "stable"), (";;echo;1", "", ""), ("echo;1;echo;1", "echo", "1")]
    {
        assert_eq!(routed(route, model, version).await.status(), 0, "{route}");
    }
    for (route, model, version) in
        [("vision;;echo;1", "echo", ""), ("echo;;echo;1", "echo", "1"), (";;echo;1", "echo", "")]
    {
        assert_eq!(routed(route, model, version).await.refused(), (3, "bad-request", ""), "{route}");
    }
    let gone = routed("echo;;echo;2", "echo", "").await;
    assert_eq!(
        gone.refused(),
        (14, "not-ready", "not-ready"),
        "a gateway never hears that what it saw is unknown"
    );
}

#[tokio::test]
async fn a_strangers_internal_headers_count_for_nothing() {
    let running = Running::with(Repository::echo(), "[gateway]\ntrusted = [\"10.0.0.0/8\"]").await;
    let client = Client::connect(&running).await;
    let request = infer().header("weir-route", "other;;none;1").header("weir-deadline-us", "0");
    assert_eq!(client.send(request, framed(&row("", [1.0, 2.0]))).await.status(), 0);
    let unready =
        client.send(infer(), framed(&ModelInferRequest { model_name: "none".into(), ..Default::default() }));
    assert_eq!(unready.await.refused(), (5, "model-not-found", ""));
    running.stop();
    assert_eq!(client.unary("ModelInfer", &row("", [1.0, 2.0])).await.refused(), (14, "draining", ""));
}

#[tokio::test]
async fn the_smallest_of_all_deadlines_counts() {
    let mut timeout = row("", [1.0, 2.0]);
    let micros = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(2000)) };
    timeout.parameters.insert("timeout".into(), micros);
    for (name, value, message) in [
        ("grpc-timeout", "2m", row("", [1.0, 2.0])),
        ("weir-deadline-us", "2000", row("", [1.0, 2.0])),
        ("x-timeout-ms", "2", row("", [1.0, 2.0])),
        ("grpc-timeout", "60S", timeout),
    ] {
        let (running, gate) = Running::gated("", LIMITS).await;
        let client = Client::connect(&running).await;
        let answer = client.send(infer().header(name, value), framed(&message)).await;
        assert_eq!((answer.status(), answer.header("weir-reason")), (4, "deadline"), "{name}");
        running.in_flight(0).await;
        gate.open(1);
    }
}

#[tokio::test]
async fn a_request_without_a_chance_is_refused_as_unavailable() {
    let cost = BatchCost { base: Duration::from_secs(10), per_unit: Duration::from_micros(1) };
    let slow = QueueSettings { costs: vec![(ShapeKey::default(), cost)], ..LIMITS };
    let (running, gate) = Running::gated("", slow).await;
    let client = Client::connect(&running).await;
    let mut first = client.open(infer());
    first.send(&row("", [1.0, 2.0]));
    first.close();
    let first = running.spawn(async move { first.next::<ModelInferResponse>().await });
    gate.entered().await;
    let shed = client.send(infer().header("grpc-timeout", "1S"), framed(&row("", [1.0, 2.0]))).await;
    assert_eq!(shed.refused(), (14, "shed", "deadline"));
    let seconds: u64 = shed.header("retry-after").parse().unwrap();
    assert!((2..=20).contains(&seconds), "{seconds}");
    let passed = client.send(infer().header("grpc-timeout", "0n"), framed(&row("", [1.0, 2.0]))).await;
    assert_eq!(passed.refused(), (4, "deadline", "deadline"), "not started");
    gate.open(1);
    assert!(first.await.unwrap().is_some());
    running.in_flight(0).await;
}

#[tokio::test]
async fn a_client_that_cancels_takes_its_request_out_of_the_queue() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let client = Client::connect(&running).await;
    let mut first = client.open(infer());
    first.send(&row("", [1.0, 2.0]));
    first.close();
    let first = running.spawn(async move { first.next::<ModelInferResponse>().await });
    gate.entered().await;
    let mut cancelled = client.open(infer());
    cancelled.send(&row("", [3.0, 4.0]));
    cancelled.close();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let cancelled = running.spawn(async move {
        tokio::select! {
            _ = cancelled.head() => panic!("answered"),
            _ = stopped => drop(cancelled),
        }
    });
    running.queued(1).await;
    stop.send(()).unwrap();
    cancelled.await.unwrap();
    running.in_flight(1).await;
    gate.open(1);
    assert!(first.await.unwrap().is_some());
    running.in_flight(0).await;
    let load = running.worker.store.replicas().next().unwrap().load();
    assert_eq!((load.in_flight, load.arrivals), (0, 2));
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        metrics.contains(r#"weir_worker_forward_seconds_count{model="echo",version="1"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_in_headers_alone() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let client = Client::connect(&running).await;
    let mut replies = Vec::new();
    for queued in [0, 1, 2] {
        let mut call = client.open(infer());
        call.send(&row("", [1.0, 2.0]));
        call.close();
        replies.push(running.spawn(async move { call.next::<ModelInferResponse>().await }));
        if queued == 0 { gate.entered().await } else { running.queued(queued).await }
    }
    let refused = client.unary("ModelInfer", &row("", [1.0, 2.0])).await;
    assert_eq!(refused.refused(), (14, "queue-full", "queue-full"));
    gate.open(3);
    for reply in replies {
        assert!(reply.await.unwrap().is_some());
    }
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"weir_worker_refused_total{reason="queue-full"} 1"#), "{metrics}");
}

/// A model of many numbers.
const WIDE: &str = r#"
backend = "synthetic"
max_batch_size = 1
[[input]]
name = "x"
datatype = "UINT8"
shape = [-1, -1]
[[output]]
name = "y"
datatype = "UINT8"
shape = [-1, -1]
[synthetic]
base = "0s"
per_item = "0s"
"#;

#[tokio::test]
async fn large_messages_come_and_go_whole() {
    let running = Running::start(Repository::new().with("wide", WIDE, &[1])).await;
    let client = Client::connect(&running).await;
    let data: Bytes = (0..20_000_003_u32).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into();
    let mut message = row("", [0.0, 0.0]);
    message.model_name = "wide".into();
    (message.inputs[0].datatype, message.inputs[0].shape) = ("UINT8".into(), vec![1, data.len() as i64]);
    message.raw_input_contents = vec![data.clone()];
    let response = client.infer(&message).await;
    assert!(response.raw_output_contents[0] == data);
    while running.worker.bodies.held().0 != 0 {
        tokio::task::yield_now().await;
    }
}
