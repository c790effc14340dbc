//! Messages of every size and shape: names in any place, compressed, in typed fields, too large, sent again after a
//! broken attempt.

use http::HeaderMap;
use prost::Message;
use tonic::{Code, Request};
use weir_protocol::grpc::{InferTensorContents, ModelInferRequest, ModelInferResponse};
use weir_tests::{
    Fault, FaultProxy, Fleet, FleetBuilder, GrpcClient, StubWorker, WorkerSpec, grpc::path, infer,
};

use super::{both, is, unlike};

/// Around the size of the proxy library's own buffer (64 KiB), an image, and above the default replay limit (16 MiB).
const SIZES: [usize; 7] = [700, 65_536, 66_000, 100_000, 3 << 20, 15 << 20, 20 << 20];

/// Of those, what is held whole and so can be sent again.
const HELD: [usize; 6] = [700, 65_536, 66_000, 100_000, 3 << 20, 15 << 20];

fn builder() -> FleetBuilder {
    let mut builder = Fleet::builder().unwrap();
    for model in ["m", "other"] {
        builder.repository.add_echo(model).unwrap();
    }
    // Each in turn, so that both are asked.
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    builder
}

async fn fleet() -> Fleet {
    let mut builder = builder();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

/// The bytes of a message that has everything but names.
fn nameless(data: &[u8]) -> Vec<u8> {
    infer::bytes("", data.to_vec()).encode_to_vec()
}

/// The bytes of a message that has nothing but names; it may come before or after the other, or more than once.
fn names(model: &str, version: &str) -> Vec<u8> {
    let (model_name, model_version) = (model.to_owned(), version.to_owned());
    ModelInferRequest { model_name, model_version, ..ModelInferRequest::default() }.encode_to_vec()
}

/// Who answered with what: model, version, and whether the tensor came back as it was.
type Told = Result<(String, String, bool), tonic::Status>;

async fn send(grpc: &GrpcClient, message: Vec<u8>, data: &[u8]) -> Told {
    let answer: ModelInferResponse =
        grpc.send(&path("ModelInfer"), Request::new(message.into())).await?.into_inner();
    let raw = answer.raw_output_contents.first().map(|raw| &raw[..]);
    Ok((answer.model_name, answer.model_version, raw == Some(data)))
}

#[track_caller]
fn echoed(told: &Told, model: &str, what: &str) {
    let expected = (model.to_owned(), "1".to_owned(), true);
    assert!(told.as_ref().is_ok_and(|told| *told == expected), "{what}: {told:?}");
}

#[tokio::test]
async fn a_message_of_any_size_comes_back_whole_with_its_names_first_or_last() {
    let mut fleet = fleet().await;
    let clients = both(&mut fleet);
    for size in SIZES {
        let data = infer::noise(size);
        let (tensors, names) = (nameless(&data), names("m", "1"));
        let (first, last) = ([&names[..], &tensors].concat(), [&tensors[..], &names].concat());
        for (place, grpc) in &clients {
            let told = send(grpc, first.clone(), &data).await;
            echoed(&told, "m", &format!("{place}, {size} B, names first"));
            let told = send(grpc, last.clone(), &data).await;
            let what = format!("{place}, {size} B, names last");
            // More than the gateway holds has to begin with its names.
            match *place {
                "gateway" if size > 16 << 20 => is(&what, &told, Code::InvalidArgument, "bad-request"),
                _ => echoed(&told, "m", &what),
            }
        }
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn of_names_given_twice_the_last_counts_or_the_message_is_refused() {
    let mut builder = builder();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.limits = "replay_bytes = \"64 KiB\"".to_owned();
    let mut fleet = builder.start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        for size in [1_000, 200_000] {
            let data = infer::noise(size);
            let (tensors, m, other) = (nameless(&data), names("m", ""), names("other", ""));
            let twice = send(&grpc, [&m[..], &m, &tensors, &m].concat(), &data).await;
            echoed(&twice, "m", &format!("{place}, {size} B, the same name three times"));
            let close = send(&grpc, [&m[..], &other, &tensors].concat(), &data).await;
            echoed(&close, "other", &format!("{place}, {size} B, another name beside the first"));

            // The gateway holds a message up to the replay limit whole. Of a larger one it has seen the first name only
            // when it chooses; the worker sees both.
            let far = send(&grpc, [&m[..], &tensors, &other].concat(), &data).await;
            let what = format!("{place}, {size} B, another name at the end");
            match place {
                "gateway" if size > 65_536 => is(&what, &far, Code::InvalidArgument, "bad-request"),
                _ => echoed(&far, "other", &what),
            }
        }
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn compressed_messages_are_routed_and_answered() {
    let mut fleet = fleet().await;
    for (place, grpc) in both(&mut fleet) {
        let grpc = grpc.compressed();
        for size in [1_000, 100_000, 3 << 20] {
            // Half of it can be compressed.
            let data: Vec<u8> = infer::noise(size / 2).into_iter().chain(vec![0; size / 2]).collect();
            let told = send(&grpc, infer::bytes("m", data.clone()).encode_to_vec(), &data).await;
            echoed(&told, "m", &format!("{place}, {size} B"));
        }
        let unknown = send(&grpc, infer::bytes("nope", vec![1]).encode_to_vec(), &[]).await;
        is(place, &unknown, Code::NotFound, "model-not-found");
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_even_when_it_is_small_on_the_wire() {
    let mut builder = builder();
    let limit = "body_bytes = \"1 MiB\"";
    builder.gateway.limits = limit.to_owned();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = format!("[limits]\n{limit}");
    builder.worker(worker);
    let mut fleet = builder.start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        for (what, grpc, size) in [
            ("plain", grpc.clone(), (1 << 20) + 1),
            ("plain, twenty times the limit", grpc.clone(), 20 << 20),
            ("compressed", grpc.clone().compressed(), 4 << 20),
        ] {
            let answer = grpc.infer(&infer::bytes("m", vec![0; size])).await;
            is(&format!("{place}, {what}"), &answer, Code::ResourceExhausted, "body-too-large");
        }
        let data = infer::noise(1_000_000);
        let told = send(&grpc, infer::bytes("m", data.clone()).encode_to_vec(), &data).await;
        echoed(&told, "m", &format!("{place}, within the limit"));
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_message_is_sent_again_whole_after_a_broken_attempt() {
    let mut builder = builder();
    let a = WorkerSpec::named("a").unwrap();
    let proxy = FaultProxy::before(a.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..a });
    builder.worker(WorkerSpec::named("b").unwrap());
    let mut fleet = builder.start().await.unwrap();
    proxy.set(Fault::Reset);
    let grpc = fleet.gateway.grpc().unwrap();
    for size in HELD {
        let struck = proxy.struck();
        let data = infer::noise(size);
        let message = infer::bytes("m", data.clone()).encode_to_vec();
        for _ in 0..2 {
            echoed(&send(&grpc, message.clone(), &data).await, "m", &format!("{size} B"));
        }
        assert!(proxy.struck() > struck, "no attempt was broken at {size} B");
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_message_is_sent_again_whole_after_a_refusal() {
    let mut builder = builder();
    let refusing: HeaderMap =
        [("weir-refused".parse().unwrap(), "queue-full".parse().unwrap())].into_iter().collect();
    let stub = StubWorker::start("full", "m", refusing).await.unwrap();
    builder.worker(WorkerSpec { at: stub.address(), ..WorkerSpec::named("full").unwrap().absent() });
    builder.worker(WorkerSpec::named("b").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    for size in HELD {
        let refused = stub.seen().len();
        let data = infer::noise(size);
        let message = infer::bytes("m", data.clone()).encode_to_vec();
        for _ in 0..2 {
            echoed(&send(&grpc, message.clone(), &data).await, "m", &format!("{size} B"));
        }
        assert!(stub.seen().len() > refused, "nothing was refused at {size} B");
    }
    fleet.idle().await.unwrap();
}

/// A request with a change that makes it wrong, and what the message about it must contain.
type Wrong = (&'static str, fn(&mut ModelInferRequest), &'static [&'static str]);

const WRONG: [Wrong; 12] = [
    ("too few raw entries", |it| it.raw_input_contents.clear(), &["x"]),
    ("too many raw entries", |it| it.raw_input_contents.push(vec![0; 8].into()), &["raw_input_contents"]),
    (
        "raw and typed together",
        |it| {
            it.inputs[0].contents =
                Some(InferTensorContents { uint_contents: vec![1; 8], ..Default::default() })
        },
        &["raw_input_contents"],
    ),
    ("raw data too short", |it| it.raw_input_contents[0] = vec![0; 7].into(), &["x", "8"]),
    ("raw data too long", |it| it.raw_input_contents[0] = vec![0; 9].into(), &["x", "8"]),
    (
        "typed data of another type",
        |it| {
            it.raw_input_contents.clear();
            it.inputs[0].contents =
                Some(InferTensorContents { fp32_contents: vec![1.0; 8], ..Default::default() });
        },
        &["x", "UINT8"],
    ),
    (
        "typed data out of range",
        |it| {
            it.raw_input_contents.clear();
            it.inputs[0].contents =
                Some(InferTensorContents { uint_contents: vec![256; 8], ..Default::default() });
        },
        &["x"],
    ),
    ("an unknown datatype", |it| it.inputs[0].datatype = "FLOAT".to_owned(), &["FLOAT"]),
    ("another datatype", |it| it.inputs[0].datatype = "INT8".to_owned(), &["x", "INT8", "UINT8"]),
    ("a negative dimension", |it| it.inputs[0].shape = vec![-1, 8], &["shape"]),
    (
        "an input too many",
        |it| {
            it.inputs.push(it.inputs[0].clone());
            it.raw_input_contents.push(vec![0; 8].into());
        },
        &["x"],
    ),
    ("a shape whose product overflows", |it| it.inputs[0].shape = vec![1 << 62, 1 << 62], &["x"]),
];

#[tokio::test]
async fn wrong_tensors_are_refused_with_what_was_expected_and_typed_ones_are_taken() {
    let mut fleet = fleet().await;
    let mut problems = Vec::new();
    for (place, grpc) in both(&mut fleet) {
        for (name, spoil, says) in WRONG {
            let mut message = infer::bytes("m", vec![7; 8]);
            spoil(&mut message);
            let answer = grpc.infer(&message).await;
            let problem = unlike(&answer, Code::InvalidArgument, "bad-request", says);
            problems.extend(problem.map(|problem| format!("{place}, {name}: {problem}")));
        }
        let mut typed = infer::bytes("m", Vec::new());
        typed.inputs[0].shape = vec![1, 8];
        typed.raw_input_contents.clear();
        typed.inputs[0].contents =
            Some(InferTensorContents { uint_contents: vec![200; 8], ..Default::default() });
        let told = send(&grpc, typed.encode_to_vec(), &[200; 8]).await;
        echoed(&told, "m", &format!("{place}, typed"));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    fleet.idle().await.unwrap();
}
