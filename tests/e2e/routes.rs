//! `[[route]]`: every kind of condition and target, and that the first match wins.

use http::Request;
use http_body_util::Full;
use weir_tests::{Fleet, Synthetic, WorkerSpec, eventually, infer};

const RULES: &str = r#"
[[route]]
name = "first"
match = { model = "first-*" }
to = { model = "m", version = 1 }

[[route]]
name = "second-never-reached"
match = { model = "first-or-second-*" }
to = { model = "other" }

[[route]]
name = "also-first"
match = { model = "{first,second}-*" }
to = { model = "other" }

[[route]]
name = "host"
match = { host = "v1.example.org" }
to = { version = 1 }

[[route]]
name = "model-and-header"
match = { model = "m", header = { name = "x-team", value = "vision" } }
to = { labels = { tier = "gpu" } }

[[route]]
name = "two-headers"
match = { header = [{ name = "x-team", value = "research" }, { name = "x-debug" }] }
to = { model = "other" }
"#;

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { versions: 2, ..Synthetic::default() }).unwrap();
    builder.repository.add("other", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("cpu").unwrap().labelled("tier = \"cpu\""));
    builder.worker(WorkerSpec::named("gpu").unwrap().labelled("tier = \"gpu\""));
    builder.gateway.rules = RULES.to_owned();
    builder.start().await.unwrap()
}

/// `model;version;worker` that served a request for `path` with the given headers, or the refusal.
async fn served(fleet: &Fleet, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::from(infer::rows(1, 4).to_string());
    let reply = fleet.client().send(request.body(body).unwrap()).await.unwrap();
    if reply.status == 200 { reply.header("weir-served").to_owned() } else { reply.to_string() }
}

/// Asks often enough that a worker which may be chosen is chosen: with two eligible workers, twenty requests to one
/// of them by chance are one in a million.
async fn always(fleet: &Fleet, path: &str, headers: &[(&str, &str)], begins: &str, ends: &str) {
    for _ in 0..20 {
        let served = served(fleet, path, headers).await;
        assert!(served.starts_with(begins) && served.ends_with(ends), "{path} {headers:?}: {served}");
    }
}

#[tokio::test]
async fn requests_go_where_the_first_matching_route_says() {
    let fleet = fleet().await;
    let m = infer::path("m");
    always(&fleet, &m, &[], "m;2;", "").await;
    always(&fleet, &infer::path("first-x"), &[], "m;1;", "").await;
    always(&fleet, &infer::path("first-or-second-x"), &[], "m;1;", "").await;
    always(&fleet, &infer::path("second-x"), &[], "other;1;", "").await;
    always(&fleet, &m, &[("host", "V1.example.org:8080")], "m;1;", "").await;
    always(&fleet, &m, &[("host", "v2.example.org")], "m;2;", "").await;
    always(&fleet, &m, &[("x-team", "vision")], "m;2;", ";gpu").await;
    always(&fleet, &infer::path("other"), &[("x-team", "vision")], "other;1;", "").await;
    always(&fleet, &m, &[("x-team", "research")], "m;2;", "").await;
    always(&fleet, &m, &[("x-team", "research"), ("x-debug", "")], "other;1;", "").await;
}

#[tokio::test]
async fn a_route_to_labels_that_no_ready_worker_has_is_not_ready() {
    let mut fleet = fleet().await;
    fleet.worker("gpu").unwrap().process().kill().unwrap();
    eventually("the gateway to notice", async || {
        let served = served(&fleet, &infer::path("m"), &[("x-team", "vision")]).await;
        anyhow::ensure!(served.starts_with("status 503, not-ready"), "{served}");
        Ok(())
    })
    .await
    .unwrap();
    always(&fleet, &infer::path("m"), &[], "m;2;", ";cpu").await;
}
