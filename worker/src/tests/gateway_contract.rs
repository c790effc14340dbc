//! What only gateways may see and say.

use std::{sync::Arc, time::Duration};

use http::Request;
use parking_lot::Mutex;
use weir_batching::{BatchCost, QueueSettings, ShapeKey};

use super::fixture::{ECHO_ROW, Repository, Running, queue};

/// Loopback is not trusted here; a token is.
const STRANGERS: &str = "[gateway]\ntrusted = [\"10.0.0.0/8\"]";

async fn with_token() -> Running {
    let repository = Repository::echo();
    std::fs::write(repository.path().join("token"), "s3cret").unwrap();
    Running::with(repository, &format!("{STRANGERS}\ntoken = {{ file = \"token\" }}")).await
}

#[tokio::test]
async fn a_trusted_peer_gets_the_load_report() {
    let running = Running::start(Repository::echo()).await;
    running.assert_serves().await;
    let first = running.get("/v2/load").await.json();
    assert_eq!((&first["format"], &first["worker"]), (&1.into(), &"w-1".into()));
    assert_eq!((&first["epoch"], &first["seq"], &first["accepting"]), (&7.into(), &1.into(), &true.into()));
    assert_eq!(first["devices"][0]["name"], "cpu");
    assert!(first["devices"][0]["free"].as_u64() <= first["devices"][0]["total"].as_u64());
    let mut model = first["models"][0].clone();
    assert!(model.as_object_mut().unwrap().remove("estimate").is_some_and(|estimate| estimate.is_object()));
    let expected = serde_json::json!({
        "id": 1, "model": "echo", "version": 1, "state": "serving", "device": 0, "size": 0,
        "max_batch_size": 4, "queued": 0, "in_flight": 0, "arrivals": 1,
    });
    assert_eq!(model, expected);
    assert_eq!(running.get("/v2/load?since=1").await.json()["seq"], 2);
}

#[tokio::test]
async fn the_report_tells_what_a_loaded_version_costs_and_when_it_would_answer() {
    let cost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
    let settings = QueueSettings { costs: vec![(ShapeKey::default(), cost)], ..queue(4, 64) };
    let (running, gate) = Running::gated("", settings).await;
    let estimate = async || running.get("/v2/load").await.json()["models"][0]["estimate"].clone();
    let idle = serde_json::json!({
        "latency": [{"shape": [], "base_us": 8_000, "per_unit_ns": 1_000_000}], "scale_milli": 1_000,
        "quote_us": 9_000, "quote_admission_us": 9_000, "floor_us": 9_000,
        // A full batch of four takes 12 ms.
        "marginal_ns": 3_000_000, "capacity_mrps": 333_333,
    });
    assert_eq!(estimate().await, idle);

    let mut first = running.connect().await;
    let answer = running.spawn(async move { first.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    let busy = estimate().await;
    assert!(busy["quote_us"].as_u64() > idle["quote_us"].as_u64(), "{busy}");
    assert_eq!(busy["floor_us"], idle["floor_us"]);
    gate.open(1);
    assert_eq!(answer.await.unwrap().status, 200);
}

#[tokio::test]
async fn the_report_expects_nothing_of_a_version_that_is_not_loaded() {
    let running = Running::unloaded(Repository::echo(), "", false).await;
    let model = running.get("/v2/load").await.json()["models"][0].clone();
    assert_eq!((&model["state"], model.get("estimate")), (&"absent".into(), None));
}

#[tokio::test]
async fn a_stranger_gets_no_report_and_its_internal_headers_count_for_nothing() {
    let running = Running::with(Repository::echo(), STRANGERS).await;
    let load = running.get("/v2/load").await;
    assert_eq!((load.status, load.header("weir-reason")), (403, "forbidden"));
    let request = Request::post("/v2/models/echo/infer").header("weir-deadline-us", "0");
    assert_eq!(running.send(request, ECHO_ROW).await.status, 200);
    running.stop();
    let reply = running.post("/v2/models/echo/infer", ECHO_ROW).await;
    assert_eq!((reply.status, reply.header("weir-refused")), (503, ""));
}

#[tokio::test]
async fn the_shared_token_makes_a_stranger_a_gateway() {
    let running = with_token().await;
    for (token, status) in [("s3cret", 200), ("s3creT", 403), ("s3cret1", 403), ("", 403)] {
        let reply = running.send(Request::get("/v2/load").header("weir-token", token), "").await;
        assert_eq!(reply.status, status, "{token}");
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_a_refusal_with_504() {
    let running = Running::start(Repository::echo()).await;
    let request = Request::post("/v2/models/echo/infer").header("weir-deadline-us", "0");
    let reply = running.send(request, ECHO_ROW).await;
    assert_eq!((reply.status, reply.header("weir-refused")), (504, "deadline"));
    assert_eq!(reply.header("retry-after"), "", "there is nothing to retry for");
    running.assert_serves().await;
}

#[tokio::test]
async fn a_clients_own_timeout_of_nothing_is_a_mistake_as_it_is_at_the_gateway() {
    let running = Running::start(Repository::echo()).await;
    for value in ["0", "-1", "soon", ""] {
        let request = Request::post("/v2/models/echo/infer").header("x-timeout-ms", value);
        let reply = running.send(request, ECHO_ROW).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{value}");
        assert_eq!(reply.error(), "x-timeout-ms must be a positive number of milliseconds");
    }
}

#[tokio::test]
async fn what_a_gateway_asks_for_and_is_not_here_is_refused_and_never_unknown() {
    let running = Running::start(Repository::echo()).await;
    for (path, unknown) in [
        ("/v2/models/none/versions/1", "model-not-found"),
        ("/v2/models/echo/versions/2", "version-not-found"),
    ] {
        for (suffix, call) in
            [("/infer", Request::post as fn(String) -> _), ("", Request::get), ("/ready", Request::get)]
        {
            let path = format!("{path}{suffix}");
            let gateway = call(path.clone()).header("weir-request-id", "r-1");
            let reply = running.send(gateway, ECHO_ROW).await;
            assert_eq!((reply.status, reply.header("weir-reason")), (503, "not-ready"), "{path}");
            assert_eq!(reply.header("weir-refused"), "not-ready", "{path}");
            let direct = running.send(call(path.clone()), ECHO_ROW).await;
            assert_eq!((direct.status, direct.header("weir-reason")), (404, unknown), "{path}");
        }
    }
    let metrics = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"weir_worker_refused_total{reason="not-ready"} 2"#), "{metrics}");
}

#[tokio::test]
async fn a_strangers_request_id_does_not_make_it_a_gateway() {
    let running = Running::with(Repository::echo(), STRANGERS).await;
    let request = Request::get("/v2/models/none").header("weir-request-id", "r-1");
    assert_eq!(running.send(request, "").await.status, 404);
}

/// Lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_a_request_as_the_gateway_does() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).json().flatten_event(true);
    // With one subscriber in the process, a thread without it that comes by a log line first turns that line off for
    // all: a second one makes tracing ask each.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    // For this thread, on which the whole worker runs.
    let _guard = tracing::subscriber::set_default(log.with_writer(move || writer.clone()).finish());
    let running = Running::start(Repository::echo()).await;
    let request = Request::post("/v2/models/none/infer").header("weir-request-id", "r-17");
    assert_eq!(running.send(request, ECHO_ROW).await.status, 503);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let line =
        text.lines().find(|line| line.contains("r-17")).unwrap_or_else(|| panic!("not logged:\n{text}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["request_id"], &line["status"]), (&"r-17".into(), &503.into()));
    assert_eq!((&line["path"], &line["reason"]), (&"/v2/models/none/infer".into(), &"not-ready".into()));
}

#[tokio::test]
async fn metrics_count_every_outcome() {
    let running = Running::start(Repository::echo()).await;
    running.assert_serves().await;
    running.post("/v2/models/echo/infer", "{}").await;
    running.post("/v2/models/none/infer", "{}").await;
    let reply = running.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    for line in [
        r#"weir_worker_requests_total{model="echo",version="1",outcome="ok"} 1"#,
        r#"weir_worker_requests_total{model="echo",version="1",outcome="bad-request"} 1"#,
        r#"weir_worker_requests_total{model="",version="",outcome="model-not-found"} 1"#,
        r#"weir_worker_model_state{model="echo",version="1",state="serving"} 1"#,
        r#"weir_worker_forward_seconds_count{model="echo",version="1"} 1"#,
        r#"weir_worker_in_flight{model="echo",version="1"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
