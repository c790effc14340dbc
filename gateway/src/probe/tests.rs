//! Probe loops against workers of which only what a probe asks for exists.

use std::{
    sync::{Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::net::TcpListener;
use weir_config::gateway::Secret;
use weir_protocol::{Lifecycle, headers};
use weir_routing::{EndpointKind, EndpointSpec, Health, Needs};

use super::*;
use crate::{
    registry::ProbeFailure,
    tests::{
        config, name, report, running,
        script::{Script, Worker, answer},
        until,
    },
};

/// A registered worker `a` at an address.
fn spec(address: SocketAddr, kind: EndpointKind) -> EndpointSpec {
    EndpointSpec {
        id: name("a"),
        kind,
        address,
        authority: address.to_string(),
        grpc: None,
        models: Vec::new(),
        weight: 1.0,
        labels: weir_routing::Labels::new(),
    }
}

impl Worker {
    fn spec(&self, kind: EndpointKind, models: &[&str]) -> EndpointSpec {
        let models = models.iter().map(|model| model.parse().unwrap()).collect();
        EndpointSpec { models, ..spec(self.address, kind) }
    }

    fn configured(&self, more: &str) -> Arc<weir_config::GatewayConfig> {
        config(&format!(
            "version = 1\n{more}\n[health]\ninterval = \"10ms\"\n[[worker]]\nname = \"a\"\nurl = \"http://{}\"\n",
            self.address
        ))
    }
}

fn reported(seq: u64, state: Lifecycle) -> Response<Full<Bytes>> {
    answer(200, serde_json::to_vec(&report(seq, &[("digits", 1, state)])).unwrap())
}

/// The failure that one probe of a worker with this script ends in.
async fn failure(script: Arc<Script>) -> ProbeFailure {
    let worker = Worker::start(script).await;
    let limit = Duration::from_secs(10);
    Fetch::new().report(&worker.spec(EndpointKind::Weir, &[]), None, limit).await.unwrap_err()
}

#[tokio::test]
async fn a_worker_that_reports_becomes_healthy_and_is_probed_over_one_connection() {
    let worker = Worker::start(Arc::new(|turn, _| reported(turn, Lifecycle::Serving))).await;
    let (registry, tasks) = running(worker.configured(""));
    tasks.spawn("probes", run(Arc::clone(&registry), tasks.clone()));
    until("ten probes", || worker.requests.load(SeqCst) >= 10).await;
    assert_eq!(registry.snapshot().endpoints[0].live.health(), Health::Healthy);
    assert_eq!(registry.snapshot().directory.models().count(), 1);
    assert_eq!(worker.connections.load(SeqCst), 1);
    assert!(tasks.finish(Duration::from_secs(10)).await, "every loop ends with the tasks");
}

#[tokio::test]
async fn the_token_and_the_host_of_the_file_go_with_every_probe() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let script = move |turn, request: &Request<Bytes>| {
        let text = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        *keep.lock().unwrap() = Some((request.uri().path().to_owned(), text(headers::TOKEN), text("host")));
        reported(turn, Lifecycle::Serving)
    };
    let worker = Worker::start(Arc::new(script)).await;
    let token = Secret::new("s3cret".to_owned());
    let registered =
        EndpointSpec { authority: "worker.example:9".to_owned(), ..worker.spec(EndpointKind::Weir, &[]) };
    Fetch::new().report(&registered, Some(&token), Duration::from_secs(10)).await.unwrap();
    let expected = ("/v2/load".to_owned(), Some("s3cret".to_owned()), Some("worker.example:9".to_owned()));
    assert_eq!(seen.lock().unwrap().take(), Some(expected));
}

#[tokio::test]
async fn what_is_not_a_report_is_told_apart_by_what_the_operator_has_to_do() {
    assert_eq!(failure(Arc::new(|_, _| answer(403, ""))).await, ProbeFailure::Forbidden);
    assert_eq!(failure(Arc::new(|_, _| answer(404, ""))).await, ProbeFailure::Status(404));
    let other = failure(Arc::new(|_, _| answer(200, r#"{"format": 7, "what": "ever"}"#))).await;
    assert_eq!(other, ProbeFailure::Format { found: 7, expected: 1 });
    let html = failure(Arc::new(|_, _| answer(200, "<html>"))).await;
    assert!(matches!(html, ProbeFailure::NotAReport(_)), "{html:?}");
    let long = failure(Arc::new(|_, _| answer(200, vec![b' '; (16 << 20) + 1]))).await;
    assert_eq!(long, ProbeFailure::TooLarge(weir_protocol::Bytes::mib(16)));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable_with_the_systems_own_word() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = Fetch::new()
        .report(&spec(free, EndpointKind::Weir), None, Duration::from_secs(10))
        .await
        .unwrap_err();
    assert!(failure.to_string().contains("Connection refused"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_accepts_and_never_answers_costs_the_time_limit_and_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_secs(1);
    for kind in [EndpointKind::Weir, EndpointKind::Foreign] {
        let registered = spec(silent.local_addr().unwrap(), kind);
        let probed = Fetch::new().report(&registered, None, limit).await;
        assert_eq!(probed, Err(ProbeFailure::TimedOut(limit)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_worker_that_fails_and_recovers_is_taken_out_and_back_in() {
    let script = |turn, _: &Request<Bytes>| match turn {
        3..=6 => answer(500, ""),
        _ => reported(turn, Lifecycle::Serving),
    };
    let worker = Worker::start(Arc::new(script)).await;
    let (registry, tasks) = running(worker.configured(""));
    let endpoint = Arc::clone(&registry.snapshot().endpoints[0]);
    tasks.spawn("probes", run(Arc::clone(&registry), tasks.clone()));
    until("healthy", || endpoint.live.health() == Health::Healthy).await;
    until("unhealthy", || endpoint.live.health() == Health::Unhealthy).await;
    let failure = registry.snapshot().worker(&name("a")).unwrap().1.failure();
    assert_eq!(failure.as_deref(), Some(&ProbeFailure::Status(500)));
    until("healthy again", || endpoint.live.health() == Health::Healthy).await;
}

#[tokio::test]
async fn loops_come_and_go_with_the_registered_workers() {
    let script: Arc<Script> = Arc::new(|turn, _| reported(turn, Lifecycle::Serving));
    let (first, second) = (Worker::start(Arc::clone(&script)).await, Worker::start(script).await);
    let (registry, tasks) = running(first.configured(""));
    tasks.spawn("probes", run(Arc::clone(&registry), tasks.clone()));
    until("the first is probed", || first.requests.load(SeqCst) > 0).await;

    registry.apply(second.configured("")).await.unwrap();
    until("the second is probed", || second.requests.load(SeqCst) > 0).await;
    let at_most = first.requests.load(SeqCst) + 1; // one may have been under way
    let later = second.requests.load(SeqCst) + 5;
    until("the second is probed on", || second.requests.load(SeqCst) >= later).await;
    assert!(first.requests.load(SeqCst) <= at_most, "the first is not a worker any more");
}

#[tokio::test]
async fn a_failed_connect_does_not_wait_for_the_interval() {
    let worker = Worker::start(Arc::new(|turn, _| reported(turn, Lifecycle::Serving))).await;
    let slow = format!(
        "version = 1\n[health]\ninterval = \"60s\"\n[[worker]]\nname = \"a\"\nurl = \"http://{}\"\n",
        worker.address
    );
    let (registry, tasks) = running(config(&slow));
    tasks.spawn("probes", run(Arc::clone(&registry), tasks.clone()));
    until("the first probe", || registry.ready()).await;
    assert_eq!(worker.requests.load(SeqCst), 1);
    registry.report_connect_failure(&name("a"));
    until("the second probe", || worker.requests.load(SeqCst) == 2).await;
}

#[test]
fn an_interval_varies_by_a_tenth_either_way() {
    let interval = Duration::from_millis(250);
    assert_eq!(jittered(interval, 0.0), Duration::from_millis(225));
    assert_eq!(jittered(interval, 0.5), interval);
    assert_eq!(jittered(interval, 1.0), Duration::from_millis(275));
}

/// A foreign worker that answers these paths with these bodies, and every other one with 404.
fn foreign(answers: &'static [(&'static str, &'static str)]) -> Arc<Script> {
    Arc::new(move |_, request| {
        let body = answers.iter().find(|(path, _)| *path == request.uri().path());
        body.map_or_else(|| answer(404, ""), |(_, body)| answer(200, *body))
    })
}

/// What one probe of a foreign worker finds: model, version, whether it is the worker's own, state.
async fn found(script: Arc<Script>, models: &[&str]) -> Result<(bool, Vec<String>), ProbeFailure> {
    let worker = Worker::start(script).await;
    let registered = worker.spec(EndpointKind::Foreign, models);
    let report = Fetch::new().report(&registered, None, Duration::from_secs(10)).await?;
    let row = |held: weir_protocol::load::ReplicaLoad| {
        let own = if held.versioned { "own" } else { "none" };
        let reason = held.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{} {} {own} {}{reason}", held.model, held.version, held.state.name())
    };
    Ok((report.accepting, report.models.into_iter().map(row).collect()))
}

#[tokio::test]
async fn a_foreign_worker_is_known_by_its_repository_index() {
    let index = r#"[
        {"name": "a", "version": "2", "state": "READY", "reason": ""},
        {"name": "a", "version": "3", "state": "LOADING"},
        {"name": "b", "state": "READY"},
        {"name": "b", "version": "v0.9", "state": "UNAVAILABLE", "reason": ""},
        {"name": "c", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "d", "version": "1", "state": "UNAVAILABLE", "reason": "no such file"},
        {"name": "e", "version": "1", "state": "UNLOADING", "reason": null},
        {"name": "f"},
        {"name": "no/model", "version": "1", "state": "READY"}
    ]"#;
    let answers = Box::leak(Box::new([("/v2/health/ready", ""), ("/v2/repository/index", index)]));
    let rows = [
        "a 2 own serving",
        "a 3 own loading",
        "b 1 none serving",
        "c 1 own absent",
        "d 1 own failed (no such file)",
        "e 1 own draining",
        "f 1 none absent",
    ];
    let expected = (true, rows.map(ToOwned::to_owned).to_vec());
    assert_eq!(found(foreign(answers), &["unused"]).await, Ok(expected));
}

#[tokio::test]
async fn what_is_ready_is_asked_in_every_probe_and_the_whole_index_now_and_then() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let script: Arc<Script> = Arc::new(move |turn, request| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        if request.uri().path() == "/v2/repository/index" {
            keep.lock().unwrap().push(body.clone());
        }
        match (body.as_str(), turn) {
            ("{}", _) => answer(
                200,
                r#"[{"name": "a", "version": "1", "state": "READY"}, {"name": "b", "version": "1", "state": "LOADING"}]"#,
            ),
            (_, 1..4) => answer(200, r#"[{"name": "a", "version": "1", "state": "READY"}]"#),
            _ => answer(200, r#"[{"name": "b", "version": "1", "state": "READY"}]"#),
        }
    });
    let worker = Worker::start(script).await;
    let registered = worker.spec(EndpointKind::Foreign, &[]);
    let (fetch, limit) = (Fetch::new(), Duration::from_secs(10));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let report = fetch.report(&registered, None, limit).await.unwrap();
        seen.push(report.models.iter().map(|held| held.state).collect::<Vec<_>>());
    }
    assert_eq!(seen, [[Lifecycle::Serving, Lifecycle::Loading], [Lifecycle::Absent, Lifecycle::Serving]]);
    let ready = r#"{"ready":true}"#;
    assert_eq!(*asked.lock().unwrap(), [ready, "{}", ready], "the second probe needs no whole index");
}

#[tokio::test]
async fn without_an_index_the_listed_models_are_asked_for_one_by_one() {
    let script = foreign(&[
        ("/v2/health/ready", ""),
        ("/v2/models/a/ready", ""),
        ("/v2/models/a", r#"{"name": "a", "versions": ["1", "4", "next"], "platform": "x"}"#),
        ("/v2/models/b/ready", ""),
        ("/v2/models/b", r#"{"name": "b", "versions": []}"#),
    ]);
    let rows = ["a 1 own serving", "a 4 own serving", "b 1 none serving", "c 1 none absent"];
    let expected = (true, rows.map(ToOwned::to_owned).to_vec());
    assert_eq!(found(Arc::clone(&script), &["a", "b", "c"]).await, Ok(expected));
    assert_eq!(found(script, &[]).await, Err(ProbeFailure::NoIndex(404)));
}

#[tokio::test]
async fn a_foreign_worker_that_is_not_ready_keeps_its_names_and_accepts_nothing() {
    let script: Arc<Script> = Arc::new(|_, request| match request.uri().path() {
        "/v2/health/ready" => answer(400, ""),
        _ => answer(200, r#"[{"name": "a", "version": "1", "state": "READY"}]"#),
    });
    assert_eq!(found(script, &[]).await, Ok((false, vec!["a 1 own serving".to_owned()])));
}

#[tokio::test]
async fn what_is_no_server_of_the_protocol_is_told_so() {
    assert_eq!(found(foreign(&[]), &[]).await, Err(ProbeFailure::NotOip(404)));
    let odd = foreign(&[("/v2/health/ready", ""), ("/v2/repository/index", "<html>")]);
    let failure = found(odd, &["a"]).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::NotAnIndex(_)), "{failure:?}");
}

#[tokio::test]
async fn a_foreign_worker_is_asked_as_any_client_would_and_never_sees_the_token() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let script: Arc<Script> = Arc::new(move |_, request| {
        let internal = request.headers().keys().any(|name| name.as_str().starts_with("weir-"));
        keep.lock().unwrap().push((request.method().clone(), request.uri().path().to_owned(), internal));
        answer(200, "[]")
    });
    let worker = Worker::start(script).await;
    let token = Secret::new("s3cret".to_owned());
    let registered = worker.spec(EndpointKind::Foreign, &[]);
    Fetch::new().report(&registered, Some(&token), Duration::from_secs(10)).await.unwrap();
    let expected = [
        (http::Method::GET, "/v2/health/ready".to_owned(), false),
        (http::Method::POST, "/v2/repository/index".to_owned(), false),
        (http::Method::POST, "/v2/repository/index".to_owned(), false),
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_foreign_worker_is_routed_to_and_its_health_follows_its_state() {
    let script = |turn, request: &Request<Bytes>| match (turn, request.uri().path()) {
        (9..=20, _) => answer(500, ""),
        (_, "/v2/health/ready") => answer(200, ""),
        _ => answer(200, r#"[{"name": "digits", "state": "READY"}]"#),
    };
    let worker = Worker::start(Arc::new(script)).await;
    let text = format!(
        "version = 1\n[health]\ninterval = \"10ms\"\n[[worker]]\nname = \"a\"\nkind = \"oip\"\nurl = \"http://{}\"\n",
        worker.address
    );
    let (registry, tasks) = running(config(&text));
    let endpoint = Arc::clone(&registry.snapshot().endpoints[0]);
    tasks.spawn("probes", run(Arc::clone(&registry), tasks.clone()));
    until("healthy", || endpoint.live.health() == Health::Healthy).await;
    let model = "digits".parse().unwrap();
    let labels = weir_routing::Labels::new();
    until("its model is known", || {
        registry.snapshot().directory.resolve(&model, None, Needs::rest(&labels)).is_ok()
    })
    .await;
    let snapshot = registry.snapshot_full();
    let (_, pool) = snapshot.directory.resolve(&model, None, Needs::rest(&labels)).unwrap();
    assert!(!pool.replicas[0].versioned && pool.version == weir_protocol::Version::FIRST);
    until("unhealthy", || endpoint.live.health() == Health::Unhealthy).await;
    assert_eq!(pool.eligible(Needs::rest(&labels)), 0);
    until("healthy again", || endpoint.live.health() == Health::Healthy).await;
    assert_eq!(pool.eligible(Needs::rest(&labels)), 1);
}
