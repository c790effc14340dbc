//! The fleet as one server, against workers that answer what a test says, probed as in production.

use std::sync::{Mutex, atomic::Ordering::SeqCst};

use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use weir_protocol::{Lifecycle, LoadReport, load::ReplicaLoad};
use weir_routing::Health;

use super::*;
use crate::{
    probe,
    tests::{
        config, report,
        script::{Worker, answer},
        until,
    },
};

type Reply = Response<Full<bytes::Bytes>>;

/// What a test says that a worker answers beside its load report.
type Says = Box<dyn Fn(&Request<bytes::Bytes>) -> Reply + Send + Sync>;

/// Workers `a`, `b`, .. with the gateway's view of them.
struct Scene {
    fleet: Fleet,
    registry: Arc<Registry>,
    tasks: Tasks,
    workers: Vec<Worker>,
}

/// One worker of a scene.
struct Actor {
    /// What its table says beside name and address.
    more: &'static str,
    report: LoadReport,
    says: Says,
}

impl Actor {
    fn weir(
        report: LoadReport,
        says: impl Fn(&Request<bytes::Bytes>) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self { more: "", report, says: Box::new(says) }
    }

    /// A foreign worker whose index lists `digits` without a version.
    fn foreign(says: impl Fn(&Request<bytes::Bytes>) -> Reply + Send + Sync + 'static) -> Self {
        Self { more: "kind = \"oip\"", report: report(1, &[]), says: Box::new(says) }
    }
}

impl Scene {
    async fn of(head: &str, actors: Vec<Actor>) -> Self {
        let mut text = format!("version = 1\n{head}\n[health]\ninterval = \"10ms\"\n");
        let mut workers = Vec::new();
        for (name, Actor { more, report, says }) in ('a'..).zip(actors) {
            let script = move |turn, request: &Request<bytes::Bytes>| match request.uri().path() {
                "/v2/load" => {
                    let report = LoadReport { seq: turn, ..report.clone() };
                    answer(200, serde_json::to_vec(&report).unwrap())
                }
                "/v2/health/ready" => answer(200, ""),
                "/v2/repository/index" => answer(200, r#"[{"name": "digits", "state": "READY"}]"#),
                _ => says(request),
            };
            let worker = Worker::start(Arc::new(script)).await;
            text += &format!("[[worker]]\nname = \"{name}\"\nurl = \"http://{}\"\n{more}\n", worker.address);
            workers.push(worker);
        }
        let (registry, tasks) = crate::tests::running(config(&text));
        tasks.spawn("probes", probe::run(Arc::clone(&registry), tasks.clone()));
        until("every worker is healthy and its models are known", || {
            let snapshot = registry.snapshot();
            let known = snapshot.directory.models().count() > 0;
            known && snapshot.endpoints.iter().all(|worker| worker.live.health() == Health::Healthy)
        })
        .await;
        let fleet = Fleet::new(Arc::clone(&registry), tasks.clone(), Handle::current());
        Self { fleet, registry, tasks, workers }
    }

    fn metric(&self, call: &str, outcome: &str) -> u64 {
        let page = self.registry.telemetry().render(&self.registry.gauges());
        let series = format!("weir_gateway_fleet_calls_total{{call=\"{call}\",outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }
}

fn serving(models: &[(&str, u64)]) -> LoadReport {
    let models: Vec<_> =
        models.iter().map(|(model, version)| (*model, *version, Lifecycle::Serving)).collect();
    report(1, &models)
}

/// Statistics of one version in the form of a worker's answer.
fn row(name: &str, version: &str, count: u64, size: u64) -> Value {
    let leaf = |count: u64| json!({"count": count, "ns": count * 10});
    let compute = json!({"compute_input": leaf(1), "compute_infer": leaf(count), "compute_output": leaf(1)});
    let mut batch = compute;
    batch["batch_size"] = json!(size);
    json!({
        "name": name, "version": version, "last_inference": 1000 + count,
        "inference_count": count, "execution_count": 1,
        "inference_stats": {"success": leaf(count), "queue": leaf(count), "compute_infer": leaf(count)},
        "batch_stats": [batch],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": count}],
        "response_stats": {"0": {"success": leaf(count)}},
    })
}

fn stats(rows: Vec<Value>) -> Reply {
    answer(200, json!({ "model_stats": rows }).to_string())
}

fn about(model: &str, version: Option<u64>) -> Option<Subject> {
    Some(Subject { model: model.parse().unwrap(), version: version.and_then(Version::new) })
}

#[tokio::test]
async fn statistics_of_the_same_version_are_added_and_others_stand_beside_them() {
    let a = |request: &Request<_>| {
        assert_eq!(request.uri().path(), "/v2/models/stats");
        stats(vec![row("digits", "10", 5, 2), row("digits", "2", 3, 1), row("other", "1", 1, 1)])
    };
    let b = |_: &Request<_>| stats(vec![row("digits", "10", 7, 1)]);
    let scene = Scene::of(
        "",
        vec![
            Actor::weir(serving(&[("digits", 2), ("digits", 10), ("other", 1)]), a),
            Actor::weir(serving(&[("digits", 10)]), b),
        ],
    )
    .await;
    let sum = scene.fleet.statistics(None).await.unwrap();
    let names: Vec<_> = sum.model_stats.iter().map(|row| format!("{} {}", row.name, row.version)).collect();
    assert_eq!(names, ["digits 2", "digits 10", "other 1"], "versions are numbers");
    let digits = &serde_json::to_value(&*sum).unwrap()["model_stats"][1];
    let leaf = |count: u64, ns: u64| json!({"count": count, "ns": ns});
    for (path, expected) in [
        ("/last_inference", json!(1007)),
        ("/inference_count", json!(12)),
        ("/execution_count", json!(2)),
        ("/inference_stats/success", leaf(12, 120)),
        ("/inference_stats/compute_infer", leaf(12, 120)),
        ("/inference_stats/fail", leaf(0, 0)),
        ("/batch_stats/0/batch_size", json!(1)),
        ("/batch_stats/0/compute_infer", leaf(7, 70)),
        ("/batch_stats/1/batch_size", json!(2)),
        ("/batch_stats/1/compute_infer", leaf(5, 50)),
        ("/memory_usage", json!([{"type": "CPU", "id": 0, "byte_size": 12}])),
        ("/response_stats/0/success", leaf(12, 120)),
    ] {
        assert_eq!(digits.pointer(path), Some(&expected), "{path}: {digits}");
    }
    assert_eq!(scene.metric("statistics", "answered"), 2);
}

#[tokio::test]
async fn a_subject_is_asked_of_the_workers_that_have_it_in_their_own_words() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let says = |name: &'static str, version: &'static str| {
        let asked = Arc::clone(&asked);
        move |request: &Request<_>| {
            asked.lock().unwrap().push(format!("{name} {}", request.uri().path()));
            stats(vec![row("digits", version, 1, 1), row("digits", "9", 1, 1), row("x", "1", 1, 1)])
        }
    };
    let scene = Scene::of(
        "",
        vec![
            Actor::weir(serving(&[("digits", 1), ("digits", 9)]), says("a", "1")),
            Actor::weir(serving(&[("other", 1)]), says("b", "1")),
            Actor::foreign(says("c", "")),
        ],
    )
    .await;
    let sum = scene.fleet.statistics(about("digits", Some(1))).await.unwrap();
    let counts: Vec<_> =
        sum.model_stats.iter().map(|row| (row.version.as_str(), row.inference_count)).collect();
    assert_eq!(counts, [("1", 2)], "a row without a number counts as version 1, other rows do not count");
    let mut paths = std::mem::take(&mut *asked.lock().unwrap());
    paths.sort();
    assert_eq!(paths, ["a /v2/models/digits/versions/1/stats", "c /v2/models/digits/stats"]);

    scene.fleet.statistics(about("digits", None)).await.unwrap();
    let mut paths = std::mem::take(&mut *asked.lock().unwrap());
    paths.sort();
    assert_eq!(paths, ["a /v2/models/digits/stats", "c /v2/models/digits/stats"]);
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_left_out_and_counted() {
    let scene = Scene::of(
        "",
        vec![
            Actor::weir(serving(&[("digits", 1)]), |_| stats(vec![row("digits", "1", 4, 1)])),
            Actor::weir(serving(&[("digits", 1), ("broken", 1)]), |_| answer(500, "")),
            Actor::weir(serving(&[("digits", 1), ("odd", 1)]), |_| answer(200, "<html>")),
            Actor::weir(serving(&[("digits", 1), ("plain", 1)]), |_| answer(404, "")),
        ],
    )
    .await;
    let sum = scene.fleet.statistics(None).await.unwrap();
    assert_eq!(sum.model_stats[0].inference_count, 4);
    let outcomes = ["answered", "refused", "failed"].map(|outcome| scene.metric("statistics", outcome));
    assert_eq!(outcomes, [1, 1, 2]);
    for (model, reason) in
        [("broken", Reason::NotReady), ("odd", Reason::NotReady), ("plain", Reason::Unsupported)]
    {
        let error = scene.fleet.statistics(about(model, None)).await.unwrap_err();
        assert_eq!(error.reason, reason, "{model}: {error}");
    }
}

#[tokio::test]
async fn whatever_is_asked_about_workers_are_sent_a_bounded_number_of_calls_at_a_time() {
    let says = |_: &Request<_>| stats(vec![row("digits", "1", 1, 1)]);
    let scene = Scene::of("", vec![Actor::weir(serving(&[("digits", 1), ("other", 1)]), says)]).await;
    let others = Arc::clone(&scene.fleet.seats).acquire_many_owned(AT_ONCE as u32).await.unwrap();
    let probed = || scene.workers[0].requests.load(SeqCst);
    let before = probed();
    tokio::select! {
        biased;
        _ = scene.fleet.statistics(None) => panic!("a worker was asked"),
        () = until("some time has passed", || probed() > before + 5) => {}
    }
    drop(others);
    assert_eq!(scene.fleet.statistics(None).await.unwrap().model_stats.len(), 1);
}

#[tokio::test]
async fn models_that_clients_may_not_ask_for_are_neither_summed_nor_listed() {
    let says = |_: &Request<_>| stats(vec![row("digits", "1", 1, 1), row("hidden", "1", 1, 1)]);
    let head = "[gateway]\nmodels = \"listed\"\n[[model]]\nname = \"digits\"";
    let scene = Scene::of(head, vec![Actor::weir(serving(&[("digits", 1), ("hidden", 1)]), says)]).await;
    let sum = scene.fleet.statistics(None).await.unwrap();
    assert_eq!(sum.model_stats.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["digits"]);
    let index = index(&scene.registry.snapshot(), false, Reader::Client);
    assert_eq!(index.models.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["digits"]);
}

#[tokio::test]
async fn the_index_is_the_union_with_the_best_state_of_each_version() {
    let a = report(
        1,
        &[
            ("digits", 1, Lifecycle::Serving),
            ("digits", 2, Lifecycle::Failed),
            ("digits", 3, Lifecycle::Loading),
            ("other", 1, Lifecycle::Absent),
        ],
    );
    let mut b = report(
        1,
        &[
            ("digits", 1, Lifecycle::Failed),
            ("digits", 2, Lifecycle::Failed),
            ("digits", 3, Lifecycle::Draining),
            ("digits", 4, Lifecycle::Draining),
        ],
    );
    let broken = |held: &mut ReplicaLoad| held.reason = Some("model.pt is truncated".to_owned());
    let mut a = a;
    a.models.get_mut(1).map(broken).unwrap();
    b.models.get_mut(1).map(broken).unwrap();
    let nothing = |_: &Request<_>| answer(404, "");
    let scene = Scene::of("", vec![Actor::weir(a, nothing), Actor::weir(b, nothing)]).await;
    until("both have reported", || {
        scene.registry.snapshot().directory.model("digits").unwrap().versions.len() == 4
    })
    .await;
    let rows_for = |ready_only, reader| {
        let row = |row: weir_protocol::grpc::repository_index_response::ModelIndex| {
            format!("{} {} {} {}", row.name, row.version, row.state, row.reason)
        };
        let index = index(&scene.registry.snapshot(), ready_only, reader);
        index.models.into_iter().map(row).collect::<Vec<_>>()
    };
    let rows = |ready_only| rows_for(ready_only, Reader::Operator);
    let expected = [
        "digits 1 READY ",
        "digits 2 UNAVAILABLE a: model.pt is truncated",
        "digits 3 LOADING ",
        "digits 4 UNLOADING ",
        "other 1 UNAVAILABLE unloaded",
    ];
    assert_eq!(rows(false), expected);
    assert_eq!(rows(true), ["digits 1 READY "]);
    assert_eq!(rows_for(false, Reader::Client)[1], "digits 2 UNAVAILABLE failed to load");

    scene.registry.snapshot().endpoints[0].live.set_draining(true);
    assert_eq!(rows(false)[0], "digits 1 UNAVAILABLE no worker that has it takes requests now");
    assert_eq!(rows(true), [""; 0]);
}

#[test]
fn an_index_request_is_empty_or_an_object() {
    for (body, ready) in
        [("", false), (" \n", false), ("{}", false), ("{\"ready\":true}", true), ("{\"x\":1}", false)]
    {
        assert_eq!(IndexRequest::parse(body.as_bytes()), Ok(IndexRequest { ready }), "{body:?}");
    }
    for body in ["true", "{\"ready\":1}", "{\"ready\":true", "null", "x"] {
        assert!(IndexRequest::parse(body.as_bytes()).is_err(), "{body}");
    }
}

/// A worker that notes what it is told to do and answers with `status`.
fn told(
    notes: &Arc<Mutex<Vec<String>>>,
    name: &'static str,
    status: u16,
) -> impl Fn(&Request<bytes::Bytes>) -> Reply + Send + Sync + 'static {
    let notes = Arc::clone(notes);
    move |request| {
        assert_eq!(request.method(), Method::POST);
        let body = String::from_utf8_lossy(request.body());
        notes.lock().unwrap().push(format!("{name} {} {body}", request.uri().path()));
        let error = if status == 200 { String::new() } else { json!({ "error": "too large" }).to_string() };
        answer(status, error)
    }
}

#[tokio::test]
async fn control_goes_to_every_weir_worker_that_has_the_model_and_tells_what_each_said() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let take = || {
        let mut notes = std::mem::take(&mut *notes.lock().unwrap());
        notes.sort();
        notes
    };
    let scene = Scene::of(
        "",
        vec![
            Actor::weir(serving(&[("digits", 1), ("good", 1)]), told(&notes, "a", 200)),
            Actor::weir(serving(&[("digits", 1)]), told(&notes, "b", 503)),
            Actor::weir(serving(&[("good", 1)]), told(&notes, "c", 200)),
            Actor::foreign(told(&notes, "d", 200)),
        ],
    )
    .await;
    let control = |model: &str, action, body: &'static str| {
        scene.fleet.control(model.parse().unwrap(), action, body.into())
    };
    let done = control("good", Action::Unload, "{\"x\":1}").await.unwrap();
    assert_eq!((done.status(), done.error()), (200, None));
    let path = "/v2/repository/models/good/unload";
    assert_eq!(take(), [format!("a {path} {{\"x\":1}}"), format!("c {path} {{\"x\":1}}")]);

    let done = control("digits", Action::Load, "").await.unwrap();
    assert_eq!((done.status(), done.error().as_deref()), (503, Some("b: too large")));
    let statuses: Vec<_> = done.said.iter().map(|said| (said.worker.as_str(), said.status)).collect();
    assert_eq!(statuses, [("a", 200), ("b", 503)]);
    assert_eq!(take().len(), 2);

    control("new", Action::Load, "").await.unwrap();
    assert_eq!(take().len(), 3, "every Weir worker is asked to load what none has");
    let unknown = control("new", Action::Unload, "").await.unwrap_err();
    assert_eq!(unknown.reason, Reason::ModelNotFound);
    assert_eq!([scene.metric("load", "answered"), scene.metric("load", "refused")], [3, 2]);
}

#[tokio::test]
async fn when_control_has_answered_the_gateway_routes_by_what_was_done() {
    let state = Arc::new(Mutex::new(Lifecycle::Serving));
    let (told, shown) = (Arc::clone(&state), Arc::clone(&state));
    let script = move |turn, request: &Request<bytes::Bytes>| match request.uri().path() {
        "/v2/load" => {
            let report = report(turn, &[("digits", 1, *shown.lock().unwrap())]);
            answer(200, serde_json::to_vec(&report).unwrap())
        }
        _ => {
            *told.lock().unwrap() = Lifecycle::Absent;
            answer(200, "")
        }
    };
    let worker = Worker::start(Arc::new(script)).await;
    let text = format!(
        "version = 1\n[health]\ninterval = \"1h\"\n[[worker]]\nname = \"a\"\nurl = \"http://{}\"\n",
        worker.address
    );
    let (registry, tasks) = crate::tests::running(config(&text));
    tasks.spawn("probes", probe::run(Arc::clone(&registry), tasks.clone()));
    until("the model is known", || registry.snapshot().directory.model("digits").is_some()).await;
    let fleet = Fleet::new(Arc::clone(&registry), tasks.clone(), Handle::current());
    let done = fleet.control("digits".parse().unwrap(), Action::Unload, bytes::Bytes::new()).await.unwrap();
    assert_eq!(done.status(), 200);
    let seen = index(&registry.snapshot(), false, Reader::Client);
    assert_eq!(seen.models[0].reason, "unloaded", "without waiting for the interval of an hour");
}

#[tokio::test]
async fn nothing_is_answered_once_the_process_ends() {
    let scene = Scene::of("", vec![Actor::weir(serving(&[("digits", 1)]), |_| stats(Vec::new()))]).await;
    assert!(scene.tasks.finish(Duration::from_secs(10)).await);
    assert_eq!(scene.fleet.statistics(None).await.unwrap_err().reason, Reason::Draining);
    assert!(!scene.workers.is_empty());
}
