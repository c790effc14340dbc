//! Names from every place, contradictions among them, labels, and what they resolve to.

use std::sync::Arc;

use weir_protocol::Lifecycle;

use super::*;
use crate::{
    registry::{Event, Registry},
    task::Tasks,
    tests::{config, report, running},
};

const CONFIG: &str = r#"
version = 1
[[worker]]
name = "a"
url = "http://127.0.0.1:1001"
[[model]]
name = "m"
version_labels = { stable = 1, next = 7 }
[[route]]
match = { model = "alias" }
to = { model = "m" }
[[route]]
match = { model = "pinned" }
to = { model = "m", version = 1 }
"#;

/// A worker that serves versions 1 and 2 of `m`.
async fn fleet() -> (Arc<Registry>, Tasks) {
    let config = config(CONFIG);
    let (registry, tasks) = running(Arc::clone(&config));
    let serving = Lifecycle::Serving;
    let report = Arc::new(report(1, &[("m", 1, serving), ("m", 2, serving)]));
    let (worker, address) = (config.workers[0].name.clone(), config.workers[0].address);
    registry.send(Event::Report { worker, address, report }).await.unwrap();
    // Answered after everything before it is visible.
    registry.apply(config).await.unwrap();
    (registry, tasks)
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn seen(model: &str, version: &str) -> Seen {
    Seen { model: model.to_owned(), version: version.to_owned() }
}

fn target(path: &str) -> Target {
    RestCall::parse("POST", path).unwrap().target().unwrap().clone()
}

#[test]
fn a_header_adds_what_the_request_leaves_out_and_may_repeat_what_it_says() {
    let version = |names: Names| names.version.map(|v| v.to_string());
    let path = target("/v2/models/m/infer");
    assert_eq!(version(Names::in_path(&path, &fields(&[])).unwrap()), None);
    let both = fields(&[("x-model", "m"), ("x-model-version", "stable")]);
    assert_eq!(version(Names::in_path(&path, &both).unwrap()).as_deref(), Some("stable"));
    let names = Names::in_body(seen("", ""), &both).unwrap();
    assert_eq!((names.model.as_str(), names.seen.as_ref()), ("m", Some(&seen("", ""))));
    let names = Names::in_body(seen("m", "2"), &fields(&[("x-model-version", "2")])).unwrap();
    assert_eq!((names.model.as_str(), version(names.clone()).as_deref()), ("m", Some("2")));
}

#[test]
fn contradictions_and_names_that_are_none_are_refused() {
    let path = |path, given: &[_]| Names::in_path(&target(path), &fields(given)).unwrap_err().reason;
    let body = |m, v, given: &[_]| Names::in_body(seen(m, v), &fields(given)).unwrap_err().reason;
    let infer = "/v2/models/m/versions/2/infer";
    assert_eq!(path(infer, &[("x-model", "other")]), Reason::BadRequest);
    assert_eq!(path(infer, &[("x-model-version", "1")]), Reason::BadRequest);
    assert_eq!(path(infer, &[("x-model", "a/b")]), Reason::BadRequest);
    assert_eq!(path(infer, &[("x-model", "m"), ("x-model", "m")]), Reason::BadRequest);
    assert_eq!(body("m", "", &[("x-model", "other")]), Reason::BadRequest);
    assert_eq!(body("m", "2", &[("x-model-version", "stable")]), Reason::BadRequest);
    assert_eq!(body("", "", &[]), Reason::BadRequest);
    assert_eq!(body("a;b", "", &[]), Reason::BadRequest);
    assert_eq!(body("m", "0", &[]), Reason::VersionNotFound);
}

/// The model version that a call's names mean.
async fn resolved(model: &str, version: &str) -> Result<(String, u64, bool), (Reason, String)> {
    let (registry, _tasks) = fleet().await;
    let request = RequestHeader::build("POST", b"/x", None).unwrap();
    let names = Names::in_body(seen(model, version), &request.headers).unwrap();
    let asked = resolve(&registry.snapshot(), &request, names, Call::Grpc(GrpcCall::ModelInfer));
    asked.map_err(|error| (error.reason, error.message)).map(|asked| {
        let route = asked.resolved().unwrap().to_string();
        assert_eq!(route, format!("{model};{version};{};{}", asked.model, asked.version));
        (asked.model.to_string(), asked.version.number(), asked.version_named)
    })
}

#[tokio::test]
async fn labels_aliases_and_routes_become_a_version_by_number() {
    let m = |version, named| Ok(("m".to_owned(), version, named));
    assert_eq!(resolved("m", "").await, m(2, false));
    assert_eq!(resolved("m", "1").await, m(1, true));
    assert_eq!(resolved("m", "stable").await, m(1, true));
    assert_eq!(resolved("alias", "").await, m(2, false));
    assert_eq!(resolved("alias", "stable").await, m(1, true), "a label of the model that the route leads to");
    assert_eq!(resolved("pinned", "2").await, m(1, true), "the route's wish comes first");
}

#[tokio::test]
async fn a_label_that_leads_nowhere_is_told_with_those_that_do() {
    let (reason, message) = resolved("m", "golden").await.unwrap_err();
    assert_eq!(reason, Reason::VersionNotFound);
    assert!(message.ends_with("it has 1, 2, next, stable"), "{message}");
    let (reason, message) = resolved("m", "next").await.unwrap_err();
    assert_eq!(reason, Reason::VersionNotFound, "a label of a version that no worker has");
    assert!(message.contains("no version 7"), "{message}");
    assert_eq!(resolved("stranger", "stable").await.unwrap_err().0, Reason::ModelNotFound);
}

#[test]
fn the_host_of_a_request_loses_its_port() {
    for (given, expected) in
        [("a.example:8080", "a.example"), ("a.example", "a.example"), ("[::1]:80", "[::1]")]
    {
        let mut request = RequestHeader::build("GET", b"/v2", None).unwrap();
        request.insert_header("host", given).unwrap();
        assert_eq!(host(&request), Some(expected));
    }
}
