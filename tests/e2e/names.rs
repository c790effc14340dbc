//! Names elsewhere than in the path: `x-model`, and a top-level `model` in JSON bodies for servers of another kind.

use http::Request;
use http_body_util::Full;
use serde_json::json;
use weir_tests::{Chunks, Client, Fleet, ForeignServer, ForeignSpec, Reply, Synthetic, WorkerSpec, infer};

const CHAT: &str = "/v1/chat/completions";

async fn foreign(model: &str) -> ForeignServer {
    let spec = ForeignSpec { model: model.to_owned(), version: None, has_index: true, has_grpc: true };
    ForeignServer::start(spec).await.unwrap()
}

/// A gateway in front of two servers, each with a model of its own, and a worker of Weir's.
async fn fleet(limits: &str) -> (Fleet, ForeignServer, ForeignServer) {
    let (one, two) = (foreign("one").await, foreign("two").await);
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { versions: 2, ..Synthetic::default() }).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.worker(WorkerSpec::foreign("one", one.address(), "").unwrap());
    builder.worker(WorkerSpec::foreign("two", two.address(), "").unwrap());
    builder.gateway.limits = limits.to_owned();
    (builder.start().await.unwrap(), one, two)
}

async fn post(client: Client, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_json_body_goes_where_its_model_says_and_arrives_as_it_was() {
    let (fleet, one, two) = fleet("").await;
    let long = "x".repeat(300_000);
    for body in [
        r#"{"model":"one"}"#.to_owned(),
        format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}],"model":"one"}}"#),
        r#" { "a" : {"model":"two"}, "b": ["model", {"model": "two"}], "model" : "one" } "#.to_owned(),
        r#"{"prompt":"\"model\":\"two\"","model":"one","n":1.5e3,"stream":false,"stop":null}"#.to_owned(),
        r#"{"mod\u0065l":"one"}"#.to_owned(),
        r#"{"prompt":"ends with a \\","model":"one"}"#.to_owned(),
        r#"{"model":"\u006fne"}"#.to_owned(),
    ] {
        let reply = post(fleet.client(), CHAT, &[], &body).await;
        assert_eq!(
            reply.json().unwrap(),
            json!({ "object": "foreign" }),
            "{}: {reply}",
            &body[..body.len().min(80)]
        );
        let seen = one.seen().pop().unwrap();
        assert_eq!((seen.path.as_str(), &seen.body[..]), (CHAT, body.as_bytes()));
    }
    assert_eq!(two.seen().len(), 0);
    for path in
        ["/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/responses", "/v1/score", "/v1/audio/speech"]
    {
        let reply = post(fleet.client(), path, &[], r#"{"model":"two"}"#).await;
        assert_eq!((reply.status, two.seen().pop().unwrap().path.as_str()), (200, path));
    }
    let generated = post(fleet.client(), "/v2/models/two/generate", &[], r#"{"text_input":"x"}"#).await;
    assert_eq!(generated.json().unwrap()["text_output"], "generated");
}

#[tokio::test]
async fn a_body_without_one_clear_model_is_refused() {
    let (fleet, one, two) = fleet("").await;
    for (body, status, reason) in [
        (r#"{"messages":[]}"#, 400, "bad-request"),
        (r#"{"model":"one","model":"two"}"#, 400, "bad-request"),
        (r#"{"model":"one","mod\u0065l":"two"}"#, 400, "bad-request"),
        (r#"{"model":7}"#, 400, "bad-request"),
        (r#"{"model":"a/b"}"#, 400, "bad-request"),
        (r#"{"model":"#, 400, "bad-request"),
        (r#"["model","one"]"#, 400, "bad-request"),
        ("", 400, "bad-request"),
        (r#"{"model":"nope"}"#, 404, "model-not-found"),
    ] {
        let reply = post(fleet.client(), CHAT, &[], body).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (status, reason), "{body}: {reply}");
        reply.error().unwrap();
    }
    assert_eq!(one.seen().len() + two.seen().len(), 0);
}

#[tokio::test]
async fn a_model_that_comes_too_late_in_the_body_must_be_named_in_a_header() {
    let (fleet, one, _) = fleet("scan_bytes = \"64 KiB\"").await;
    let late = format!(r#"{{"prompt":"{}","model":"one"}}"#, "x".repeat(100_000));
    let refused = post(fleet.client(), CHAT, &[], &late).await;
    assert_eq!((refused.status, refused.header("weir-reason")), (400, "bad-request"), "{refused}");
    assert!(refused.error().unwrap().contains("x-model"), "{refused}");
    let named = post(fleet.client(), CHAT, &[("x-model", "one")], &late).await;
    assert_eq!((named.status, one.seen().len()), (200, 1), "{named}");
    // Of unstated length, its name within what is searched.
    let first = r#"{"model":"one","prompt":""#.to_owned() + &"x".repeat(1_000);
    let request =
        Request::post(CHAT).body(Chunks::led_by(first.into(), "x".repeat(50_000).into(), 40)).unwrap();
    assert_eq!(fleet.client().send(request).await.unwrap().status, 200);
    assert_eq!(one.seen().pop().unwrap().body.len(), 2_000_000 + 1_025);
}

#[tokio::test]
async fn headers_name_the_model_of_any_request_and_must_not_contradict() {
    let (fleet, one, two) = fleet("").await;
    for (headers, body, status) in [
        (&[("x-model", "one")][..], r#"{"prompt":"x"}"#, 200),
        (&[("x-model", "one")], r#"{"model":"one"}"#, 200),
        (&[("x-model", "two")], r#"{"model":"one"}"#, 400),
        (&[("x-model", "a b")], r#"{"prompt":"x"}"#, 400),
        (&[("x-model", "nope")], r#"{"prompt":"x"}"#, 404),
    ] {
        let reply = post(fleet.client(), CHAT, headers, body).await;
        assert_eq!(reply.status, status, "{headers:?} {body}: {reply}");
    }
    assert_eq!((one.seen().len(), two.seen().len()), (2, 0));

    let rows = infer::rows(1, 4).to_string();
    for (path, headers, served) in [
        ("/v2/models/m/infer", &[("x-model", "m")][..], "m;2;a"),
        ("/v2/models/m/infer", &[("x-model-version", "1")], "m;1;a"),
        ("/v2/models/m/versions/1/infer", &[("x-model-version", "1")], "m;1;a"),
    ] {
        let reply = post(fleet.client(), path, headers, &rows).await;
        assert_eq!(reply.header("weir-served"), served, "{path} {headers:?}: {reply}");
    }
    for (path, headers) in [
        ("/v2/models/m/infer", &[("x-model", "one")][..]),
        ("/v2/models/m/versions/1/infer", &[("x-model-version", "2")]),
        ("/v2/models/m/versions/1/infer", &[("x-model", "m"), ("x-model-version", "2")]),
    ] {
        let reply = post(fleet.client(), path, headers, &rows).await;
        assert_eq!(
            (reply.status, reply.header("weir-reason")),
            (400, "bad-request"),
            "{path} {headers:?}: {reply}"
        );
    }
}
