//! ModelStreamInfer: order, batches, failures of single requests, final responses, names within a stream.

use std::time::Duration;

use tonic::{Code, Request};
use weir_protocol::grpc::{
    InferParameter, ModelInferRequest, ModelStreamInferResponse, infer_parameter::ParameterChoice,
};
use weir_tests::{
    Fleet, FleetBuilder, GrpcClient, Synthetic, WorkerSpec,
    grpc::{InferStream, metadata_of},
    infer,
};

use super::{both, is};

fn builder(model: &Synthetic) -> FleetBuilder {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", model).unwrap();
    builder.repository.add("other", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder
}

/// A request whose id and values both tell which one it is.
fn nth(number: usize) -> ModelInferRequest {
    ModelInferRequest { id: number.to_string(), ..infer::message("m", 1, 4, number as f32) }
}

#[track_caller]
fn is_nth(answer: Option<ModelStreamInferResponse>, number: usize) {
    let answer = answer.unwrap_or_else(|| panic!("the stream ended before answer {number}"));
    assert_eq!(answer.error_message, "", "{number}");
    let response = answer.infer_response.unwrap();
    assert_eq!(response.id, number.to_string());
    assert_eq!((response.model_name.as_str(), response.model_version.as_str()), ("m", "1"));
    let expected: Vec<u8> = std::iter::repeat_n((number as f32).to_le_bytes(), 4).flatten().collect();
    assert_eq!(response.raw_output_contents, [expected], "{number}");
}

/// A stream that has said that no more comes must end well, with nothing left to say.
async fn ends_well(mut stream: InferStream) {
    stream.finish();
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_thousand_requests_are_answered_in_order_and_in_batches() {
    let mut fleet = builder(&Synthetic::default()).start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let requests: Vec<_> = (0..1_000).map(nth).collect();
        let mut stream = grpc.stream(&requests);
        for number in 0..1_000 {
            is_nth(stream.next().await.unwrap(), number);
        }
        // A worker cannot say it of its own streams: each request may name another model.
        let served = metadata_of(stream.metadata(), "weir-served");
        assert!(place == "worker" || served == "m;1;a", "{place}: {served}");
        ends_well(stream).await;
    }
    let statistics = fleet.client().get("/v2/models/m/stats").await.unwrap().json().unwrap();
    let m = &statistics["model_stats"][0];
    assert_eq!(m["inference_count"], 2_000, "{m}");
    let passes = m["execution_count"].as_u64().unwrap();
    assert!(passes < 1_000, "requests of one stream met in no batch: {passes} passes for 2,000");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_client_that_waits_for_each_answer_gets_it_before_it_asks_on() {
    let mut fleet = builder(&Synthetic::default()).start().await.unwrap();
    for (_, grpc) in both(&mut fleet) {
        let mut stream = grpc.stream(&[]);
        for number in 0..100 {
            stream.send(&nth(number)).await.unwrap();
            is_nth(stream.next().await.unwrap(), number);
        }
        ends_well(stream).await;
        // A stream without a request is one that ended well.
        let mut empty = grpc.stream(&[]);
        empty.finish();
        assert_eq!(empty.next().await.unwrap(), None);
    }
    fleet.idle().await.unwrap();
}

/// A request that fails, and what its message must contain.
fn failing() -> Vec<(&'static str, ModelInferRequest, &'static str)> {
    let wrong = |id: &str, message: ModelInferRequest| ModelInferRequest { id: id.to_owned(), ..message };
    let mut version = infer::message("m", 1, 4, 0.0);
    version.model_version = "9".to_owned();
    let mut late = infer::message("m", 1, 4, 0.0);
    late.parameters.insert("timeout".to_owned(), int(1));
    vec![
        ("a wrong shape", wrong("shape", infer::message("m", 1, 5, 0.0)), "x"),
        ("an unknown model", wrong("model", infer::message("nope", 1, 4, 0.0)), ""),
        ("another model", wrong("other", infer::message("other", 1, 4, 0.0)), ""),
        ("another version", wrong("version", version), ""),
        ("a deadline that has passed", wrong("late", late), ""),
    ]
}

fn int(value: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

#[tokio::test]
async fn a_request_that_fails_is_told_by_its_id_and_the_stream_goes_on() {
    let mut fleet = builder(&Synthetic::default()).start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let mut stream = grpc.stream(&[nth(0)]);
        is_nth(stream.next().await.unwrap(), 0);
        let mut number = 0;
        for (what, request, says) in failing() {
            // At a worker a stream may name one model after the other: nothing was chosen for it.
            if place == "worker" && what == "another model" {
                continue;
            }
            number += 1;
            stream.send(&request).await.unwrap();
            stream.send(&nth(number)).await.unwrap();
            let answer = stream.next().await.unwrap().unwrap();
            assert!(!answer.error_message.is_empty(), "{place}, {what}: {answer:?}");
            assert!(answer.error_message.contains(says), "{place}, {what}: {answer:?}");
            let id = answer.infer_response.map(|response| response.id);
            assert_eq!(id, Some(request.id), "{place}, {what}");
            is_nth(stream.next().await.unwrap(), number);
        }
        ends_well(stream).await;
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_stream_whose_first_request_has_no_model_is_refused_as_a_whole_at_the_gateway() {
    let fleet = builder(&Synthetic::default()).start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let mut unknown = grpc.stream(&[infer::message("nope", 1, 4, 0.0)]);
    is("unknown", &unknown.next().await, Code::NotFound, "model-not-found");
    let mut nameless = grpc.stream(&[infer::message("", 1, 4, 0.0)]);
    is("nameless", &nameless.next().await, Code::InvalidArgument, "bad-request");
    let mut request = Request::new(());
    request.metadata_mut().insert("x-model", "m".parse().unwrap());
    let without = |number| ModelInferRequest { model_name: String::new(), ..nth(number) };
    let mut stream = grpc.stream_with(request, &[without(0), without(1)]);
    for number in 0..2 {
        is_nth(stream.next().await.unwrap(), number);
    }
    ends_well(stream).await;
}

#[tokio::test]
async fn an_empty_final_response_follows_each_answer_when_asked_for() {
    let mut fleet = builder(&Synthetic::default()).start().await.unwrap();
    let flag = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    let asking = |number| {
        let mut request = nth(number);
        request.parameters.insert("triton_enable_empty_final_response".to_owned(), flag.clone());
        request
    };
    let is_final = |answer: &ModelStreamInferResponse| {
        let response = answer.infer_response.as_ref().unwrap();
        let parameter = response.parameters.get("triton_final_response")?;
        match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(is_final)) => Some(is_final),
            _ => None,
        }
    };
    for (place, grpc) in both(&mut fleet) {
        let mut stream = grpc.stream(&[asking(0), nth(1), asking(2)]);
        for number in [0, 2] {
            if number == 2 {
                let answer = stream.next().await.unwrap();
                assert_ne!(
                    is_final(answer.as_ref().unwrap()),
                    Some(false),
                    "{place}: it is the last of its request"
                );
                is_nth(answer, 1);
            }
            let answer = stream.next().await.unwrap();
            assert_eq!(is_final(answer.as_ref().unwrap()), Some(false), "{place}: {answer:?}");
            is_nth(answer, number);
            let last = stream.next().await.unwrap().unwrap();
            assert_eq!(is_final(&last), Some(true), "{place}: {last:?}");
            let response = last.infer_response.unwrap();
            assert!(response.outputs.is_empty() && response.raw_output_contents.is_empty(), "{response:?}");
            assert_eq!((response.id, response.model_name), (number.to_string(), "m".to_owned()), "{place}");
        }
        ends_well(stream).await;
        // On a unary call it means nothing.
        let answer = grpc.infer(&asking(3)).await.unwrap().into_inner();
        assert_eq!(answer.raw_output_contents.len(), 1, "{place}");
    }
}

#[tokio::test]
async fn a_stream_outlives_the_time_that_one_request_has() {
    let slow = Synthetic { base: Duration::from_millis(700), ..Synthetic::default() };
    let mut builder = builder(&slow);
    builder.gateway.timeouts += "\nrequest = \"500ms\"";
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let mut stream = grpc.stream(&[nth(0)]);
    is_nth(stream.next().await.unwrap(), 0);
    stream.send(&nth(1)).await.unwrap();
    is_nth(stream.next().await.unwrap(), 1);
    ends_well(stream).await;
    // A unary call has it; its worker may foresee that, or try.
    let unary = grpc.infer(&nth(0)).await.unwrap_err().code();
    assert!(matches!(unary, Code::DeadlineExceeded | Code::Unavailable), "{unary:?}");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_silent_for_too_long_is_ended() {
    let mut builder = builder(&Synthetic::default());
    builder.gateway.timeouts += "\nstream_idle = \"500ms\"";
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let mut stream = grpc.stream(&[nth(0)]);
    is_nth(stream.next().await.unwrap(), 0);
    let end = stream.next().await.unwrap_err();
    assert!(matches!(end.code(), Code::DeadlineExceeded | Code::Unavailable), "{end:?}");
    assert_ne!(metadata_of(end.metadata(), "weir-reason"), "", "{end:?}");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn large_requests_pass_through_a_stream() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let data = infer::noise(3 << 20);
    for (place, grpc) in both(&mut fleet) {
        let requests = vec![infer::bytes("m", data.clone()); 8];
        let mut stream = grpc.stream(&requests);
        for number in 0..8 {
            let answer = stream.next().await.unwrap().unwrap();
            let response = answer.infer_response.unwrap();
            assert!(response.raw_output_contents == [data.clone()], "{place}: answer {number} is another");
        }
        ends_well(stream).await;
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let fleet = builder(&Synthetic::default()).start().await.unwrap();
    let grpc: GrpcClient = fleet.gateway.grpc().unwrap();
    let mut streams: Vec<_> = (0..50).map(|number| grpc.stream(&[nth(number)])).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        is_nth(stream.next().await.unwrap(), number);
    }
    for (number, stream) in streams.iter().enumerate() {
        stream.send(&nth(number + 1_000)).await.unwrap();
    }
    for (number, mut stream) in streams.into_iter().enumerate().rev() {
        is_nth(stream.next().await.unwrap(), number + 1_000);
        ends_well(stream).await;
    }
}
