//! ModelStreamInfer: answers in order, errors that keep the stream, and every way in which a stream ends.

use bytes::Bytes;
use weir_batching::QueueSettings;
use weir_protocol::grpc::{
    InferParameter, ModelInferRequest, ServerLiveRequest, infer_parameter::ParameterChoice,
};

use super::client::{Client, flagged, framed, path, post, row, values};
use crate::tests::fixture::{Repository, Running, queue};

const LIMITS: QueueSettings = queue(4, 64);

async fn started() -> (Running, Client) {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    (running, client)
}

fn of(model: &str, id: &str) -> ModelInferRequest {
    ModelInferRequest { model_name: model.into(), ..row(id, [1.0, 2.0]) }
}

#[tokio::test]
async fn a_thousand_requests_are_answered_in_their_order() {
    let (running, client) = started().await;
    let mut call = client.stream();
    for n in 0..1000_u16 {
        call.send(&row(&n.to_string(), [f32::from(n), 0.0]));
    }
    call.close();
    for n in 0..1000_u16 {
        let response = call.response().await;
        assert_eq!((&*response.id, values(&response)), (&*n.to_string(), vec![f32::from(n), 0.0]));
        assert!(response.parameters.is_empty());
    }
    assert_eq!(call.end().await, (0, String::new()));
    running.in_flight(0).await;
    assert_eq!(running.worker.bodies.held().0, 0);
}

#[tokio::test]
async fn a_client_may_wait_for_each_answer() {
    let (_running, client) = started().await;
    let mut call = client.stream();
    assert_eq!(call.head().await["content-type"], "application/grpc");
    for n in 0..20 {
        call.send(&row(&n.to_string(), [1.0, 2.0]));
        assert_eq!(call.response().await.id, n.to_string());
    }
    call.close();
    assert_eq!(call.end().await.0, 0);
}

#[tokio::test]
async fn requests_of_a_stream_share_batches_up_to_the_window() {
    let (running, gate) = Running::gated("[limits]\nstream_window = 5", LIMITS).await;
    let client = Client::connect(&running).await;
    let mut call = client.stream();
    for n in 0..8 {
        call.send(&row(&n.to_string(), [1.0, 2.0]));
    }
    let answers = running.spawn(async move {
        for n in 0..8 {
            assert_eq!(call.response().await.id, n.to_string());
        }
        call.close();
        call.end().await
    });
    gate.entered().await;
    running.in_flight(5).await;
    // What was sent before this call was read before it.
    client.unary("ServerLive", &ServerLiveRequest {}).await;
    assert_eq!(running.worker.shutdown.in_flight(), 5, "the window holds the others back");
    gate.open(8);
    assert_eq!(answers.await.unwrap().0, 0);
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"weir_worker_batch_rows_sum{model="echo",version="1"} 8"#), "{metrics}");
    let batches = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"weir_worker_batch_rows_count{model="echo",version="1"} "#));
    assert!(batches.unwrap().parse::<u32>().unwrap() < 8, "{metrics}");
}

#[tokio::test]
async fn a_request_that_fails_is_answered_in_its_place_and_the_stream_goes_on() {
    let (running, client) = started().await;
    let mut call = client.stream();
    let mut wrong = row("2", [1.0, 2.0]);
    wrong.inputs[0].shape = vec![1, 3];
    call.send(&row("1", [1.0, 2.0]));
    call.send(&wrong);
    call.send(&of("none", "3"));
    call.send_bytes(flagged(0, b"\xff\xff"));
    call.send(&row("5", [1.0, 2.0]));
    call.close();
    assert_eq!(call.response().await.id, "1");
    for (id, words) in [("2", "tensor 'x'"), ("3", "unknown model 'none'"), ("", "cannot read the message")] {
        let (of, message) = call.error().await;
        assert!(of == id && message.contains(words), "{of}: {message}");
    }
    assert_eq!(call.response().await.id, "5");
    assert_eq!(call.end().await.0, 0);
    running.in_flight(0).await;
}

#[tokio::test]
async fn an_empty_last_response_comes_when_it_is_asked_for() {
    let (_running, client) = started().await;
    let mut call = client.stream();
    let flag = |value| InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(value)) };
    let mut asks = row("a", [1.0, 2.0]);
    asks.parameters.insert("triton_enable_empty_final_response".into(), flag(true));
    call.send(&asks);
    call.send(&row("b", [3.0, 4.0]));
    call.close();
    let first = call.response().await;
    assert_eq!((first.outputs.len(), &first.parameters["triton_final_response"]), (1, &flag(false)));
    let last = call.response().await;
    assert_eq!((&*last.id, &*last.model_name, &*last.model_version), ("a", "echo", "1"));
    assert!(last.outputs.is_empty() && last.raw_output_contents.is_empty());
    assert_eq!(last.parameters["triton_final_response"], flag(true));
    assert!(call.response().await.parameters.is_empty(), "nobody asked");
    assert_eq!(call.end().await.0, 0);
    let unary = client.infer(&asks).await;
    assert!(unary.parameters.is_empty() && unary.outputs.len() == 1, "for streams only");
}

#[tokio::test]
async fn a_later_message_that_names_another_model_than_the_gateway_read_is_an_error_of_its_own() {
    let (_running, client) = started().await;
    let mut call = client.open(post(&path("ModelStreamInfer")).header("weir-route", "vision;;echo;1"));
    assert_eq!(call.head().await["weir-served"], "echo;1;w-1");
    for (model, id) in [("vision", "1"), ("echo", "2"), ("vision", "3")] {
        call.send(&of(model, id));
    }
    call.close();
    assert_eq!(call.response().await.id, "1");
    let (id, message) = call.error().await;
    assert!(id == "2" && message.contains("name each once"), "{message}");
    assert_eq!(call.response().await.id, "3");
    assert_eq!(call.end().await.0, 0);
}

#[tokio::test]
async fn a_draining_worker_finishes_what_it_read_and_ends_the_stream() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let client = Client::connect(&running).await;
    let (mut busy, mut idle) = (client.stream(), client.stream());
    idle.head().await;
    busy.head().await;
    busy.send(&row("1", [1.0, 2.0]));
    busy.send(&row("2", [1.0, 2.0]));
    gate.entered().await;
    running.in_flight(2).await;
    running.stop();
    assert_eq!(idle.end().await, (14, "draining".to_owned()));
    gate.open(2);
    assert_eq!((busy.response().await.id, busy.response().await.id), ("1".to_owned(), "2".to_owned()));
    assert_eq!(busy.end().await, (14, "draining".to_owned()));
    let mut late = client.stream();
    assert_eq!(late.head().await["weir-refused"], "draining");
    assert_eq!(late.end().await, (14, "draining".to_owned()));
    running.ended().await;
}

#[tokio::test]
async fn a_stream_that_a_gateway_sent_to_the_wrong_worker_is_refused_at_once() {
    let (running, client) = started().await;
    for (id, expected) in [("r-1", 14), ("", 5)] {
        let mut request = post(&path("ModelStreamInfer")).header("weir-route", "echo;;echo;2");
        if !id.is_empty() {
            request = request.header("weir-request-id", id);
        }
        let mut call = client.open(request);
        assert_eq!(call.head().await["grpc-status"], expected.to_string());
        assert_eq!(call.head().await.contains_key("weir-refused"), expected == 14);
        assert_eq!(call.end().await.0, expected);
    }
    running.in_flight(0).await;
}

#[tokio::test]
async fn a_streams_deadline_ends_it() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let client = Client::connect(&running).await;
    let mut call = client.open(post(&path("ModelStreamInfer")).header("grpc-timeout", "1S"));
    call.send(&row("1", [1.0, 2.0]));
    // Whether it waits or runs by then.
    assert_eq!(call.error().await.0, "1");
    assert_eq!(call.end().await, (4, "deadline".to_owned()));
    gate.open(1);
    running.in_flight(0).await;
}

#[tokio::test]
async fn a_client_that_cancels_a_stream_takes_all_its_requests_out_of_the_queue() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let client = Client::connect(&running).await;
    let mut call = client.stream();
    for n in 0..10 {
        call.send(&row(&n.to_string(), [1.0, 2.0]));
    }
    call.head().await;
    gate.entered().await;
    running.in_flight(10).await;
    drop(call);
    running.in_flight(0).await;
    gate.open(1);
    let mut next = client.stream();
    next.send(&row("next", [1.0, 2.0]));
    gate.open(1);
    assert_eq!(next.response().await.id, "next");
    let load = running.worker.store.replicas().next().unwrap().load();
    assert_eq!((load.in_flight, load.queued), (0, 0));
}

#[tokio::test]
async fn broken_framing_ends_the_stream_after_what_came_before() {
    let (_running, client) = started().await;
    for (bytes, expected) in [
        (flagged(7, b""), (3, "bad-request")),
        (Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), (8, "body-too-large")),
        (framed(&row("cut", [1.0, 2.0])).slice(..9), (3, "bad-request")),
    ] {
        let mut call = client.stream();
        call.send(&row("1", [1.0, 2.0]));
        call.send_bytes(bytes);
        call.close();
        assert_eq!(call.response().await.id, "1");
        let (status, reason) = call.end().await;
        assert_eq!((status, &*reason), expected);
    }
}
