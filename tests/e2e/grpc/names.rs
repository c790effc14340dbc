//! Which model a message means: routes, labels, headers, and what the worker is told of them.

use http::HeaderMap;
use prost::Message;
use tonic::{Code, Request, Status};
use weir_protocol::grpc::ModelInferResponse;
use weir_tests::{
    Fleet, ForeignServer, ForeignSpec, GrpcClient, StubWorker, Synthetic, WorkerSpec,
    grpc::{metadata_of, path},
    infer,
};

use super::{both, is};

const RULES: &str = r#"
[[model]]
name = "m"
version_labels = { stable = 1, newest = 3 }

[[route]]
match = { model = "alias" }
to = { model = "m", version = 1 }

[[route]]
match = { model = "other-alias" }
to = { model = "other" }

[[route]]
match = { model = "m", header = { name = "x-team", value = "vision" } }
to = { version = 2 }
"#;

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    let model = Synthetic { versions: 3, ..Synthetic::default() };
    builder.repository.add("m", &model).unwrap();
    builder.repository.add("other", &Synthetic::default()).unwrap();
    builder.repository.label("m", "stable = 1, newest = 3").unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.rules = RULES.to_owned();
    builder.start().await.unwrap()
}

/// What a request says: model and version in the message, and headers.
struct Said<'a> {
    model: &'a str,
    version: &'a str,
    headers: &'a [(&'static str, &'static str)],
}

/// `weir-served` without the worker, checked against what the message itself says of who answered.
async fn served(grpc: &GrpcClient, said: &Said<'_>) -> Result<String, Status> {
    let mut message = infer::message(said.model, 1, 4, 0.0);
    message.model_version = said.version.to_owned();
    let mut request = Request::new(message.encode_to_vec().into());
    for (name, value) in said.headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let answer = grpc.send::<ModelInferResponse>(&path("ModelInfer"), request).await?;
    let header = metadata_of(answer.metadata(), "weir-served");
    let names = format!("{};{}", answer.get_ref().model_name, answer.get_ref().model_version);
    assert_eq!(header, format!("{names};a"), "the header and the message name different versions");
    Ok(names)
}

#[tokio::test]
async fn a_message_goes_to_the_model_and_version_that_it_names() {
    let mut fleet = fleet().await;
    for (place, grpc) in both(&mut fleet) {
        for (model, version, expected) in [
            ("m", "", "m;3"),
            ("m", "1", "m;1"),
            ("m", "stable", "m;1"),
            ("m", "newest", "m;3"),
            ("other", "", "other;1"),
        ] {
            let names = served(&grpc, &Said { model, version, headers: &[] }).await.unwrap();
            assert_eq!(names, expected, "{place} {model} {version}");
        }
        let unknown = served(&grpc, &Said { model: "m", version: "beta", headers: &[] }).await;
        is(place, &unknown, Code::NotFound, "version-not-found");
        let message = unknown.unwrap_err().message().to_owned();
        assert!(["stable", "newest", "3"].iter().all(|known| message.contains(known)), "{place}: {message}");
    }
}

#[tokio::test]
async fn routes_and_headers_decide_at_the_gateway() {
    let fleet = fleet().await;
    let grpc = fleet.gateway.grpc().unwrap();
    let m = [("x-model", "m")];
    for (model, version, headers, expected) in [
        ("alias", "", &[][..], "m;1"),
        ("other-alias", "", &[], "other;1"),
        ("m", "", &[("x-team", "vision")], "m;2"),
        ("m", "", &m[..], "m;3"),
        ("", "", &m[..], "m;3"),
        ("", "", &[("x-model", "alias")], "m;1"),
        ("", "2", &m[..], "m;2"),
        ("m", "", &[("x-model-version", "1")], "m;1"),
        ("m", "1", &[("x-model-version", "1")], "m;1"),
        ("", "", &[("x-model", "m"), ("x-model-version", "stable")], "m;1"),
    ] {
        let told = served(&grpc, &Said { model, version, headers }).await;
        assert_eq!(told.ok().as_deref(), Some(expected), "{model:?} {version:?} {headers:?}");
    }
    for (model, version, headers) in [
        ("m", "", &[("x-model", "other")]),
        ("m", "1", &[("x-model-version", "2")]),
        ("m", "", &[("x-model", "a b")]),
    ] {
        let told = served(&grpc, &Said { model, version, headers }).await;
        is(&format!("{model:?} {version:?} {headers:?}"), &told, Code::InvalidArgument, "bad-request");
    }
    let unknown = served(&grpc, &Said { model: "", version: "", headers: &[("x-model", "nope")] }).await;
    is("x-model", &unknown, Code::NotFound, "model-not-found");
}

#[tokio::test]
async fn a_worker_is_told_what_was_seen_and_what_it_means_and_a_client_cannot_say_it() {
    let forged = [("weir-load", "1;2;3"), ("weir-secret", "inside"), ("weir-served", "m;1;stub")];
    let map = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    };
    let stub = StubWorker::start("stub", "m", map(&forged)).await.unwrap();
    let mut builder = Fleet::builder().unwrap();
    builder.worker(WorkerSpec { at: stub.address(), ..WorkerSpec::named("stub").unwrap().absent() });
    builder.gateway.rules = RULES.to_owned();
    let fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let ask = async |model: &str, version: &str, headers: &[(&'static str, &'static str)]| {
        let mut message = infer::message(model, 1, 4, 0.0);
        message.model_version = version.to_owned();
        let mut request = Request::new(message.encode_to_vec().into());
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        grpc.send::<ModelInferResponse>(&path("ModelInfer"), request).await
    };
    for (model, version, headers, route) in [
        ("m", "", &[][..], "m;;m;1"),
        ("m", "1", &[], "m;1;m;1"),
        ("m", "stable", &[], "m;stable;m;1"),
        ("alias", "", &[], "alias;;m;1"),
        ("", "", &[("x-model", "m")], ";;m;1"),
        ("m", "", &[("weir-route", "m;;other;9"), ("weir-token", "guess")], "m;;m;1"),
    ] {
        let answer = ask(model, version, headers).await.unwrap();
        let seen = stub.seen().pop().unwrap();
        let values: Vec<_> = seen.headers.get_all("weir-route").iter().collect();
        assert_eq!(values, [route], "{model:?} {version:?} {headers:?}");
        assert!(seen.headers.get("weir-token").is_none_or(|token| token != "guess"));
        let visible: Vec<_> =
            forged.iter().map(|(name, _)| *name).filter(|it| answer.metadata().contains_key(*it)).collect();
        assert_eq!(visible, ["weir-served"]);
    }

    let mut request = Request::new(infer::message("m", 1, 4, 0.0).encode_to_vec().into());
    request.metadata_mut().insert("grpc-timeout", "20S".parse().unwrap());
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = grpc.send::<ModelInferResponse>(&path("ModelInfer"), request).await.unwrap();
    assert_eq!(metadata_of(answer.metadata(), "x-request-id"), "mine");
    let seen = stub.seen().pop().unwrap();
    assert_eq!(
        (&seen.headers["weir-request-id"], &seen.headers["te"]),
        (&"mine".parse().unwrap(), &"trailers".parse().unwrap())
    );
    let left: u64 = seen.headers["weir-deadline-us"].to_str().unwrap().parse().unwrap();
    assert!(left > 0 && left <= 20_000_000, "{left} us");
}

#[tokio::test]
async fn a_server_of_another_kind_gets_the_names_that_it_knows() {
    let mut builder = Fleet::builder().unwrap();
    let spec = ForeignSpec { model: "m".to_owned(), version: None, has_index: true, has_grpc: true };
    let bare = ForeignServer::start(spec).await.unwrap();
    let spec = ForeignSpec { model: "n".to_owned(), version: Some(7), has_index: true, has_grpc: true };
    let numbered = ForeignServer::start(spec).await.unwrap();
    builder.worker(WorkerSpec::foreign("bare", bare.address(), &bare.grpc_url()).unwrap());
    builder.worker(WorkerSpec::foreign("numbered", numbered.address(), &numbered.grpc_url()).unwrap());
    builder.gateway.rules = "[[route]]\nmatch = { model = \"alias\" }\nto = { model = \"n\" }\n\
        [[model]]\nname = \"n\"\nversion_labels = { stable = 7 }\n"
        .to_owned();
    let fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    for (model, version, answers) in [
        ("m", "", "m"),
        ("m", "1", "m"),
        ("n", "", "n"),
        ("n", "7", "n"),
        ("n", "stable", "n"),
        ("alias", "", "n"),
    ] {
        let mut message = infer::message(model, 1, 4, 0.0);
        message.model_version = version.to_owned();
        message.id = "the id".to_owned();
        let answer = grpc.infer(&message).await;
        let got = answer
            .as_ref()
            .map(|answer| (answer.get_ref().model_name.as_str(), answer.get_ref().id.as_str()));
        assert_eq!(got.ok(), Some((answers, "the id")), "{model} {version}: {answer:?}");
    }
    is("unknown", &grpc.infer(&infer::message("nope", 1, 4, 0.0)).await, Code::NotFound, "model-not-found");
    // What it does not know is its own to say.
    let mut stream = grpc.stream(&[infer::message("m", 1, 4, 0.0)]);
    stream.finish();
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Unimplemented);
}
