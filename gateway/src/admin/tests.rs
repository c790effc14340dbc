//! The admin calls end to end over the router, without a socket.

use std::{fs, sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderName, Method, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tempfile::TempDir;
use weir_protocol::Lifecycle;
use weir_routing::{Ask, Labels, Lease, Needs, Policy};

use super::*;
use crate::{
    registry::{Event, ProbeFailure},
    reload::Loaded,
    tests::{TWO_WORKERS, name, report, until},
};

/// A gateway without listeners: its registry, its reload task and the admin calls.
struct Gateway {
    folder: TempDir,
    admin: Arc<Admin>,
}

impl Gateway {
    fn start(token: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, TWO_WORKERS).unwrap();
        let loaded = Loaded::read(&file).unwrap();
        let (registry, tasks) = crate::tests::running(Arc::clone(&loaded.config));
        let (reload, reloader) = Reload::new(file, loaded, Arc::clone(&registry));
        tasks.spawn("reload", reloader.run(tasks.stop_signal()));
        let token = token.map(|token| Secret::new(token.to_owned()));
        let fleet =
            Arc::new(Fleet::new(Arc::clone(&registry), tasks.clone(), tokio::runtime::Handle::current()));
        Self { folder, admin: Arc::new(Admin { registry, fleet, reload, tasks, token }) }
    }

    /// Worker `a` serves version 1 of `digits`; worker `b` cannot be reached.
    async fn settle(&self) {
        let registry = &self.admin.registry;
        let at = |worker: &str| registry.snapshot().worker(&name(worker)).unwrap().0.spec.address;
        let report = Arc::new(report(1, &[("digits", 1, Lifecycle::Serving)]));
        registry.send(Event::Report { worker: name("a"), address: at("a"), report }).await.unwrap();
        let failure = ProbeFailure::Forbidden;
        registry.send(Event::ProbeFailed { worker: name("b"), address: at("b"), failure }).await.unwrap();
        until("both have settled", || {
            registry.ready() && registry.snapshot().directory.models().count() == 1
        })
        .await;
    }

    async fn call(&self, request: Request<Body>) -> (u16, Value) {
        let response = TowerToHyperService::new(router(Arc::clone(&self.admin))).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(request(Method::GET, path, &[])).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let mut request = request(Method::POST, path, &[("x-weir-admin", "1")]);
        *request.body_mut() = body.into();
        self.call(request).await
    }

    fn lease(&self) -> Lease {
        let labels = Labels::new();
        let snapshot = self.admin.registry.snapshot();
        let (_, pool) =
            snapshot.directory.resolve(&"digits".parse().unwrap(), None, Needs::rest(&labels)).unwrap();
        let ask = Ask { policy: Policy::RoundRobin, needs: Needs::rest(&labels), tried: &[], random: 0 };
        pool.pick(&ask).unwrap().0
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    request.headers_mut().insert("host", "127.0.0.1:8081".parse().unwrap());
    for (name, value) in headers {
        request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn readiness_comes_when_every_worker_has_settled_and_goes_when_stopping() {
    let gateway = Gateway::start(None);
    assert_eq!(gateway.get("/livez").await.0, 200);
    assert_eq!(gateway.get("/readyz").await.0, 503);
    gateway.settle().await;
    assert_eq!(gateway.get("/readyz").await.0, 200);
    gateway.admin.registry.begin_stop();
    assert_eq!(gateway.get("/readyz").await.0, 503);
    assert_eq!(gateway.get("/livez").await.0, 200, "a restart would help nobody");
    gateway.admin.tasks.spawn("breaks", async { panic!("on purpose") });
    until("the panic is noticed", || gateway.admin.tasks.broken().is_some()).await;
    let (status, body) = gateway.get("/livez").await;
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().contains("breaks"), "{body}");
}

#[tokio::test]
async fn workers_are_listed_with_what_is_wrong_with_them() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let (_, body) = gateway.get("/v1/workers").await;
    let (a, b) = (&body["workers"][0], &body["workers"][1]);
    assert_eq!((a["name"].as_str(), a["health"].as_str()), (Some("a"), Some("healthy")));
    assert_eq!((a["address"].as_str(), a["in_flight"].as_u64()), (Some("127.0.0.1:1001"), Some(0)));
    assert_eq!((a["kind"].as_str(), a["grpc_address"].as_str()), (Some("weir"), Some("127.0.0.1:1001")));
    assert!(a.get("problem").is_none(), "{a}");
    assert!(b["problem"].as_str().unwrap().contains("[gateway] trusted"), "{b}");

    let (status, body) = gateway.get("/v1/workers/a").await;
    assert_eq!((status, body["report"]["models"][0]["model"].as_str()), (200, Some("digits")));
    let (status, body) = gateway.get("/v1/workers/z").await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("'z'"), "{body}");
}

#[tokio::test]
async fn models_are_listed_with_their_replicas() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let (_, body) = gateway.get("/v1/models").await;
    assert_eq!(body["models"][0]["name"], "digits");
    let (status, model) = gateway.get("/v1/models/digits").await;
    assert_eq!((status, &model), (200, &body["models"][0]));
    let version = &model["versions"][0];
    assert_eq!((version["version"].as_u64(), version["eligible"].as_u64()), (Some(1), Some(1)));
    assert_eq!(version["replicas"][0]["worker"], "a");
    assert_eq!(gateway.get("/v1/models/other").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_is_left_and_waits_when_asked_to() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let mut lease = gateway.lease();
    let (status, body) = gateway.post("/v1/workers/a/drain", "").await;
    assert_eq!((status, body["dispatching"].as_u64()), (202, Some(1)), "picked, not yet handed over");
    lease.mark_sent();
    let (status, body) = gateway.post("/v1/workers/a/drain?wait=5s", "").await;
    assert_eq!((status, body["dispatching"].as_u64(), body["in_flight"].as_u64()), (200, Some(0), Some(1)));
    drop(lease);
    let (_, body) = gateway.post("/v1/workers/a/drain?wait=5s", "").await;
    assert_eq!((body["draining"].as_bool(), body["in_flight"].as_u64()), (Some(true), Some(0)));
    assert_eq!(gateway.get("/v1/models/digits").await.1["versions"][0]["eligible"], 0);

    assert_eq!(gateway.post("/v1/workers/a/undrain", "").await.0, 200);
    assert_eq!(gateway.get("/v1/models/digits").await.1["versions"][0]["eligible"], 1);
    for wait in ["soon", "2h", "-1s"] {
        assert_eq!(gateway.post(&format!("/v1/workers/a/drain?wait={wait}"), "").await.0, 400, "{wait}");
    }
    assert_eq!(gateway.post("/v1/workers/z/drain", "").await.0, 404);
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_last_reload_and_without_secrets() {
    let gateway = Gateway::start(None);
    let (_, body) = gateway.get("/v1/config").await;
    assert_eq!(
        (body["generation"].as_u64(), body["last_reload"]["outcome"].as_str()),
        (Some(1), Some("applied"))
    );
    assert_eq!(body["settings"]["health"]["interval"], "250ms");
    assert_eq!(body["settings"]["worker"][1]["url"], "http://127.0.0.1:1002");

    let file = gateway.folder.path().join("gateway.toml");
    fs::write(&file, TWO_WORKERS.replace("version = 1", "version = 1\n[limits]\nattempts = 2")).unwrap();
    assert_eq!(gateway.post("/v1/config/reload", "").await.0, 200);
    let (_, body) = gateway.get("/v1/config").await;
    assert_eq!(
        (body["generation"].as_u64(), body["settings"]["limits"]["attempts"].as_u64()),
        (Some(2), Some(2))
    );

    fs::write(&file, "version = 1\nnonsense = true\n").unwrap();
    let (status, body) = gateway.post("/v1/config/reload", "").await;
    assert_eq!((status, body["outcome"].as_str()), (422, Some("rejected")));
    assert_eq!(body["problems"][0]["line"], 2);
    let (_, body) = gateway.get("/v1/config").await;
    assert_eq!(
        (body["generation"].as_u64(), body["last_reload"]["outcome"].as_str()),
        (Some(2), Some("rejected"))
    );
}

/// The keys of the commented reference file, by single table.
fn reference_keys() -> Vec<(&'static str, &'static str)> {
    let (mut table, mut keys) = ("", Vec::new());
    for line in include_str!("../../../config/gateway.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.strip_suffix(']').unwrap_or_default();
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && ["gateway", "limits", "timeouts", "health"].contains(&table)
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            keys.push((table, key));
        }
    }
    keys
}

#[tokio::test]
async fn every_key_of_the_reference_file_is_shown() {
    let gateway = Gateway::start(None);
    let (_, body) = gateway.get("/v1/config").await;
    let keys = reference_keys();
    assert!(keys.contains(&("limits", "scan_bytes")) && keys.len() > 20, "{keys:?}");
    for (table, key) in keys {
        assert!(body["settings"][table].get(key).is_some(), "[{table}] {key}");
    }
}

#[tokio::test]
async fn a_token_is_never_shown() {
    let gateway = Gateway::start(Some("s3cret"));
    fs::write(gateway.folder.path().join("token"), "w0rker").unwrap();
    let text =
        TWO_WORKERS.replace("version = 1", "version = 1\n[gateway]\nworker_token = { file = \"token\" }");
    let mut call = request(Method::POST, "/v1/config/validate", &[("x-weir-admin", "1")]);
    call.headers_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    *call.body_mut() = text.into();
    let (status, body) = gateway.call(call).await;
    assert_eq!((status, body["settings"]["gateway"]["worker_token"].as_bool()), (200, Some(true)), "{body}");
    assert!(!body.to_string().contains("w0rker"), "{body}");
}

#[tokio::test]
async fn a_text_is_checked_without_coming_into_use() {
    let gateway = Gateway::start(None);
    let (status, body) = gateway.post("/v1/config/validate", TWO_WORKERS.replace("1001", "1009")).await;
    assert_eq!((status, body["valid"].as_bool()), (200, Some(true)));
    let (status, body) = gateway.post("/v1/config/validate", "version = 1\n[limits]\nattempts = 99\n").await;
    assert_eq!((status, body["valid"].as_bool()), (422, Some(false)));
    assert!(body["error"].as_str().unwrap().contains("gateway.toml:3:"), "{body}");
    assert_eq!(gateway.admin.registry.snapshot().generation, 1);
}

#[tokio::test]
async fn every_call_but_the_health_checks_needs_the_token() {
    let gateway = Gateway::start(Some("s3cret"));
    gateway.settle().await;
    for (path, token, expected) in [
        ("/v1/workers", None, 401),
        ("/v1/workers", Some("Bearer s3cre"), 401),
        ("/v1/workers", Some("s3cret"), 401),
        ("/v1/workers", Some("Bearer s3cret"), 200),
        ("/metrics", None, 401),
        ("/no/such/path", None, 401),
        ("/livez", None, 200),
        ("/readyz", None, 200),
    ] {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let (status, body) = gateway.call(request(Method::GET, path, &headers)).await;
        assert_eq!(status, expected, "{path} {token:?}: {body}");
    }
}

#[tokio::test]
async fn a_page_whose_name_was_rebound_is_refused() {
    let gateway = Gateway::start(None);
    let by_host = [
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("localhost", 200),
        ("LocalHost:8081", 200),
        ("10.1.2.3", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8081", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("a b", 403),
    ];
    for (host, expected) in by_host {
        let (status, body) = gateway.call(request(Method::GET, "/v1/workers", &[("host", host)])).await;
        assert_eq!(status, expected, "{host:?}: {body}");
    }
    let mut nameless = request(Method::GET, "/v1/workers", &[]);
    nameless.headers_mut().remove("host");
    assert_eq!(gateway.call(nameless).await.0, 403);

    let with_token = Gateway::start(Some("s3cret"));
    let headers = [("host", "admin.weir.example"), ("authorization", "Bearer s3cret")];
    assert_eq!(with_token.call(request(Method::GET, "/v1/workers", &headers)).await.0, 200);
}

#[tokio::test]
async fn a_write_without_the_custom_header_is_refused_and_does_nothing() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    for headers in [&[][..], &[("x-weir-admin", "yes")]] {
        let (status, body) = gateway.call(request(Method::POST, "/v1/workers/a/drain", headers)).await;
        assert_eq!(status, 403);
        assert!(body["error"].as_str().unwrap().contains("x-weir-admin: 1"), "{body}");
    }
    assert!(!gateway.admin.registry.snapshot().endpoints[0].live.draining());
}

#[tokio::test]
async fn wrong_paths_and_methods_are_told_as_json() {
    let gateway = Gateway::start(None);
    let (status, body) = gateway.get("/v1/nothing").await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("/v1/nothing"), "{body}");
    let (status, body) = gateway.get("/v1/workers/a/drain").await;
    assert_eq!((status, body["error"].is_string()), (405, true));
    assert_eq!(gateway.post("/v1/workers", "").await.0, 405);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_as_json_and_does_nothing() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let drain = "/v1/workers/a/drain";
    let large = vec![b'#'; MAX_BODY_BYTES + 1];
    let calls = [
        (format!("{drain}?wait=1s&wait=2s"), vec![], 400),
        (format!("{drain}?wiat=1s"), vec![], 400),
        (format!("{drain}?wait=%ff"), vec![], 400),
        ("/v1/workers/%ff/drain".to_owned(), vec![], 400),
        ("/v1/workers/%ff/undrain".to_owned(), vec![], 400),
        ("/v1/config/validate".to_owned(), vec![0xff], 400),
        ("/v1/config/validate".to_owned(), large, 413),
    ];
    for (path, body, expected) in calls {
        let (status, body) = gateway.post(&path, body).await;
        assert_eq!((status, body["error"].is_string()), (expected, true), "{path}: {body}");
    }
    for path in ["/v1/workers/%ff", "/v1/models/%ff"] {
        let (status, body) = gateway.get(path).await;
        assert_eq!((status, body["error"].is_string()), (400, true), "{path}: {body}");
    }
    assert!(!gateway.admin.registry.snapshot().endpoints[0].live.draining());
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_reads_them() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let (status, page) = gateway.get("/metrics").await;
    assert_eq!(status, 200);
    let page = page.as_str().unwrap();
    assert!(page.contains("weir_gateway_workers{health=\"healthy\"} 1\n"), "{page}");
    assert!(page.contains("# TYPE weir_gateway_probes_total counter\n"), "{page}");
}

#[tokio::test]
async fn the_listener_serves_and_ends_with_its_stop_signal() {
    let gateway = Gateway::start(None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = serve(listener, Arc::clone(&gateway.admin), stop.clone());
    let asking = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        stop.cancel();
        answer
    };
    let both = async { tokio::join!(serving, asking) };
    let (served, answer) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    served.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn the_index_of_the_fleet_is_told_with_and_without_what_is_not_ready() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    let ready = serde_json::json!([{ "name": "digits", "version": "1", "state": "READY", "reason": "" }]);
    for path in ["/v2/repository/index", "/v2/repository/any/index", "/v2/repository/models/index"] {
        for body in ["", "{}", "{\"ready\": true}"] {
            assert_eq!(gateway.post(path, body).await, (200, ready.clone()), "{path} {body}");
        }
    }
    gateway.admin.registry.snapshot().endpoints[0].live.set_draining(true);
    assert_eq!(gateway.post("/v2/repository/index", "{}").await.1[0]["state"], "UNAVAILABLE");
    let (_, index) = gateway.post("/v2/repository/index", "{\"ready\": true}").await;
    assert_eq!(index, serde_json::json!([]));
    assert_eq!(gateway.post("/v2/repository/index", "{\"ready\": 1}").await.0, 400);
}

#[tokio::test]
async fn a_model_is_loaded_where_it_is_known_and_every_worker_answers_for_itself() {
    let gateway = Gateway::start(None);
    gateway.settle().await;
    for path in ["/v2/repository/models/digits/load", "/v2/repository/any/models/digits/unload"] {
        let (status, body) = gateway.post(path, "").await;
        assert_eq!(status, 502, "nobody listens there: {body}");
        assert_eq!(
            (&body["workers"][0]["worker"], &body["workers"][0]["status"]),
            (&"a".into(), &502.into())
        );
        assert_eq!(body["workers"].as_array().unwrap().len(), 1, "the other has no such model");
        assert!(body["error"].as_str().unwrap().starts_with("a: cannot reach 127.0.0.1:1001"), "{body}");
    }
    let (_, body) = gateway.post("/v2/repository/models/new/load", "").await;
    assert_eq!(body["workers"].as_array().unwrap().len(), 2, "any worker may have its files");
    assert_eq!(gateway.post("/v2/repository/models/new/unload", "").await.0, 404);
    assert_eq!(gateway.post("/v2/repository/models/a%20b/load", "").await.0, 400);
    let unmarked = request(Method::POST, "/v2/repository/models/digits/unload", &[]);
    assert_eq!(gateway.call(unmarked).await.0, 403);
}
