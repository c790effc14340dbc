//! What operators and load generators ask: statistics, configuration, index, load, unload, labels.

use std::sync::Arc;

use http::Request;
use serde_json::{Value, json};

use super::fixture::{ECHO, ECHO_ROW, Repository, Running, queue};

const CONTROL: &str = "control = true";

fn rows(count: usize) -> String {
    let data = vec![1.5; 2 * count];
    json!({ "inputs": [{ "name": "x", "shape": [count, 2], "datatype": "FP32", "data": data }] }).to_string()
}

/// The rows of the index: version, state and reason of each version of a model.
async fn index(running: &Running, model: &str, body: &'static str) -> Vec<(String, String, String)> {
    let reply = running.post("/v2/repository/index", body).await;
    assert_eq!(reply.status, 200);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let all = reply.json();
    let of_model = all.as_array().unwrap().iter().filter(|row| row["name"] == model);
    of_model.map(|row| (text(row, "version"), text(row, "state"), text(row, "reason"))).collect()
}

fn row(version: &str, state: &str, reason: &str) -> (String, String, String) {
    (version.to_owned(), state.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn statistics_count_requests_rows_and_passes_together() {
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let running = Running::start(Repository::echo()).await;
    let stats = |reply: Value| reply["model_stats"][0].clone();
    let fresh = stats(running.get("/v2/models/echo/stats").await.json());
    assert_eq!((&fresh["name"], &fresh["version"]), (&json!("echo"), &json!("1")));
    assert_eq!((&fresh["last_inference"], &fresh["batch_stats"]), (&json!(0), &json!([])));
    for count in [1, 3, 1] {
        assert_eq!(running.post("/v2/models/echo/infer", rows(count)).await.status, 200);
    }
    assert_eq!(running.post("/v2/models/echo/infer", "{}").await.status, 400);
    let stats = stats(running.get("/v2/models/echo/versions/1/stats").await.json());
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(5), &json!(3)));
    let inference = &stats["inference_stats"];
    for (part, count) in [
        ("success", 3),
        ("queue", 3),
        ("compute_input", 3),
        ("compute_infer", 3),
        ("compute_output", 3),
        ("fail", 1),
        ("cache_hit", 0),
        ("cache_miss", 0),
    ] {
        assert_eq!(inference[part]["count"], count, "{part}");
    }
    let ns = |part: &str| inference[part]["ns"].as_u64().unwrap();
    let parts = ["queue", "compute_input", "compute_infer", "compute_output"].map(ns);
    assert_eq!(parts.iter().sum::<u64>(), ns("success"), "the parts add up");
    let batches: Vec<_> = stats["batch_stats"].as_array().unwrap().iter().collect();
    let counted = batches
        .iter()
        .map(|batch| (&batch["batch_size"], &batch["compute_infer"]["count"]))
        .collect::<Vec<_>>();
    assert_eq!(counted, [(&json!(1), &json!(2)), (&json!(3), &json!(1))]);
    assert!(u128::from(stats["last_inference"].as_u64().unwrap()) >= began, "{stats}");
}

#[tokio::test]
async fn statistics_of_a_model_or_of_all_name_every_version() {
    let slow = ECHO.replace("base = ", "memory = \"3 MiB\"\nbase = ");
    let repository = Repository::new().with("echo", ECHO, &[1, 2]).with("big", &slow, &[7]);
    let running = Running::start(repository).await;
    let names = |reply: Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |stats: &Value| (text(&stats["name"]), text(&stats["version"]));
        reply["model_stats"].as_array().unwrap().iter().map(of).collect()
    };
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    let all = running.get("/v2/models/stats").await.json();
    assert_eq!(
        all["model_stats"][0]["memory_usage"],
        json!([{ "type": "CPU", "id": 0, "byte_size": 3 << 20 }])
    );
    assert_eq!(names(all), [pair("big", "7"), pair("echo", "1"), pair("echo", "2")]);
    let of_model = running.get("/v2/models/echo/stats").await.json();
    assert_eq!(names(of_model), [pair("echo", "1"), pair("echo", "2")]);
    for (path, reason) in [
        ("/v2/models/none/stats", "model-not-found"),
        ("/v2/models/none/config", "model-not-found"),
        ("/v2/models/echo/versions/3/stats", "version-not-found"),
        ("/v2/models/echo/versions/new/config", "version-not-found"),
    ] {
        let reply = running.get(path).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (404, reason), "{path}");
    }
}

#[tokio::test]
async fn the_configuration_is_what_load_generators_read() {
    let batching = "[batching]\nmax_queue_delay = \"2ms\"\nmax_queue_size = 99\n[synthetic]";
    let toml = ECHO.replace("[synthetic]", batching).replace("max_batch_size", "lanes = 3\nmax_batch_size");
    let running = Running::start(Repository::new().with("echo", &toml, &[1, 2])).await;
    let expected = json!({
        "name": "echo",
        "platform": "weir_synthetic",
        "backend": "weir_synthetic",
        "version_policy": { "all": {} },
        "max_batch_size": 4,
        "input": [{ "name": "x", "data_type": "TYPE_FP32", "dims": [2], "optional": false }],
        "output": [{ "name": "y", "data_type": "TYPE_FP32", "dims": [2] }],
        "instance_group": [{ "name": "echo_0", "count": 3, "gpus": [], "kind": "KIND_CPU" }],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": 2000,
            "preserve_ordering": false,
            "priority_levels": 0,
            "default_priority_level": 0,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": 0,
                "allow_timeout_override": true,
                "max_queue_size": 99,
            },
        },
        "parameters": {},
        "model_transaction_policy": { "decoupled": false },
        "response_cache": { "enable": false },
    });
    assert_eq!(running.get("/v2/models/echo/config").await.json(), expected);
    assert_eq!(running.get("/v2/models/echo/versions/1/config").await.json(), expected);
}

#[tokio::test]
async fn the_configuration_tells_priorities_times_and_sizes() {
    let batching =
        "[batching]\npreferred_batch_size = [2, 4]\ndefault_timeout = \"1s\"\npriority_levels = 3\n";
    let toml = ECHO.replace("[synthetic]", &format!("{batching}[synthetic]"));
    let running = Running::start(Repository::new().with("echo", &toml, &[1])).await;
    let config = running.get("/v2/models/echo/config").await.json()["dynamic_batching"].clone();
    assert_eq!(config["preferred_batch_size"], json!([2, 4]));
    assert_eq!((&config["priority_levels"], &config["default_priority_level"]), (&json!(3), &json!(2)));
    assert_eq!(config["default_queue_policy"]["default_timeout_microseconds"], 1_000_000);
}

#[tokio::test]
async fn without_a_batch_dimension_the_configuration_has_whole_shapes_and_no_batching() {
    let toml = ECHO.replace("max_batch_size = 4", "");
    let running = Running::start(Repository::new().with("echo", &toml, &[1])).await;
    let config = running.get("/v2/models/echo/config").await.json();
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(0), &json!([-1, 2])));
    assert_eq!(config.get("dynamic_batching"), None);
}

#[tokio::test]
async fn the_index_names_every_version_and_its_state() {
    let broken = ECHO.replace("FP32", "FP99");
    let repository =
        Repository::new().with("echo", ECHO, &[1, 2]).with("bad", &broken, &[1]).with("bare", ECHO, &[]);
    let running = Running::start(repository).await;
    for body in ["", "{}", r#"{"ready": false}"#] {
        assert_eq!(index(&running, "echo", body).await, [row("1", "READY", ""), row("2", "READY", "")]);
        let none = row("", "UNAVAILABLE", "it has no version folder");
        assert_eq!(index(&running, "bare", body).await, [none]);
    }
    let [(_, state, reason)] = &index(&running, "bad", "").await[..] else { panic!("one row") };
    assert!(state == "UNAVAILABLE" && reason.contains("FP99"), "a trusted peer hears why: {reason}");
    let ready = running.post("/v2/repository/any/index", r#"{"ready": true}"#).await.json();
    let all = running.post("/v2/repository/index", "").await.json();
    let expected = json!({ "name": "bare", "state": "UNAVAILABLE", "reason": "it has no version folder" });
    assert!(all.as_array().unwrap().contains(&expected), "a row without a version: {all}");
    let of = |name: &str| ready.as_array().unwrap().iter().filter(|row| row["name"] == name).count();
    assert_eq!((of("echo"), of("bad"), of("bare")), (2, 0, 0));
    for (body, what) in [("{\"ready\": 1}", "ready"), ("[", "EOF"), ("{} {}", "trailing")] {
        let reply = running.post("/v2/repository/index", body).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{what}");
    }
}

#[tokio::test]
async fn a_stranger_is_not_told_why_a_version_failed() {
    let broken = ECHO.replace("FP32", "FP99");
    let repository = Repository::new().with("bad", &broken, &[1]);
    let running = Running::with(repository, "[gateway]\ntrusted = []").await;
    let reason = "it failed to load; the worker's log says why";
    assert_eq!(index(&running, "bad", "").await, [row("1", "UNAVAILABLE", reason)]);
}

#[tokio::test]
async fn loading_and_unloading_are_off_unless_the_operator_says_so() {
    let running = Running::start(Repository::echo()).await;
    for path in ["/v2/repository/models/echo/load", "/v2/repository/models/echo/unload"] {
        let reply = running.post(path, "not even json").await;
        assert_eq!((reply.status, reply.header("weir-reason")), (403, "forbidden"));
        assert!(reply.error().contains("control = true"));
    }
    running.assert_serves().await;
}

#[tokio::test]
async fn a_model_comes_goes_and_comes_back_and_its_statistics_stay() {
    let running = Running::with(Repository::echo(), CONTROL).await;
    let late = running.repository().join("late");
    std::fs::create_dir_all(late.join("1")).unwrap();
    std::fs::write(late.join("model.toml"), ECHO).unwrap();
    let infer = || running.post("/v2/models/late/infer", ECHO_ROW);
    assert_eq!(infer().await.status, 404);
    // As stock clients send them: an empty object, an empty body, parameters that change nothing here.
    assert_eq!(running.post("/v2/repository/models/late/load", "{}").await.status, 200);
    assert_eq!(infer().await.status, 200);
    assert_eq!(index(&running, "late", "").await, [row("1", "READY", "")]);
    let unload = r#"{"parameters": {"unload_dependents": true}}"#;
    assert_eq!(running.post("/v2/repository/models/late/unload", unload).await.status, 200);
    let gone = infer().await;
    assert_eq!((gone.status, gone.header("weir-refused")), (503, "not-ready"));
    assert_eq!(gone.error(), "model 'late' is not ready: it is not loaded");
    assert_eq!(running.get("/v2/models/late/ready").await.status, 503);
    assert_eq!(index(&running, "late", "").await, [row("1", "UNAVAILABLE", "unloaded")]);
    assert_eq!(running.get("/v2/health/ready").await.status, 200, "the rest serves");
    assert_eq!(running.post("/v2/repository/models/late/unload", "").await.status, 200, "again is no error");
    assert_eq!(running.post("/v2/repository/models/late/load", "").await.status, 200);
    assert_eq!(infer().await.status, 200);
    let stats = running.get("/v2/models/late/stats").await.json();
    assert_eq!(stats["model_stats"][0]["inference_count"], 2, "one before and one after");
    running.assert_serves().await;
}

#[tokio::test]
async fn an_unload_waits_for_what_was_accepted_and_lets_nothing_more_in() {
    let limits = queue(1, 64);
    let (running, gate) = Running::gated(CONTROL, limits).await;
    let mut accepted = Vec::new();
    for queued in 0..3 {
        let mut connection = running.connect().await;
        accepted.push(running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await }));
        if queued == 0 {
            gate.entered().await;
        }
        running.queued(queued).await;
    }
    let mut connection = running.connect().await;
    let mut unload =
        running.spawn(async move { connection.post("/v2/repository/models/echo/unload", "").await });
    while index(&running, "echo", "").await != [row("1", "UNLOADING", "")] {
        tokio::task::yield_now().await;
    }
    let refused = running.post("/v2/models/echo/infer", ECHO_ROW).await;
    assert_eq!((refused.status, refused.header("weir-refused")), (503, "not-ready"));
    assert_eq!(refused.error(), "model 'echo' is not ready: it is going away");
    assert!(unload.try_recv().is_err(), "three are still in hand");
    gate.open(3);
    for reply in accepted {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    assert_eq!(unload.await.unwrap().status, 200);
    assert_eq!(index(&running, "echo", "").await, [row("1", "UNAVAILABLE", "unloaded")]);
    let report = running.get("/v2/load").await.json();
    assert_eq!((&report["models"][0]["state"], &report["accepting"]), (&json!("absent"), &json!(true)));
    assert_eq!(Arc::strong_count(&gate), 1, "nobody but this test holds the model any more");
}

#[tokio::test]
async fn a_load_that_fails_says_why_and_leaves_alone_what_serves() {
    let running = Running::with(Repository::new().with("echo", ECHO, &[1]), CONTROL).await;
    let echo = running.repository().join("echo");
    let load = |model: &'static str, body: &'static str| {
        let path = format!("/v2/repository/models/{model}/load");
        let running = &running;
        async move { running.post(&path, body).await }
    };
    let unknown = load("none", "").await;
    assert_eq!((unknown.status, unknown.header("weir-reason")), (404, "model-not-found"));
    for parameter in ["config", "file:1/model.pt"] {
        let body = json!({ "parameters": { parameter: "{}" } }).to_string();
        let reply = running.post("/v2/repository/models/echo/load", body).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (501, "unsupported"));
        assert!(reply.error().contains(parameter), "{}", reply.error());
    }
    for version in ["2", "3"] {
        std::fs::create_dir(echo.join(version)).unwrap();
    }
    std::fs::write(echo.join("model.toml"), "lanes = 0").unwrap();
    let broken = load("echo", "").await;
    assert_eq!((broken.status, broken.header("weir-reason")), (400, "bad-request"));
    let why = broken.error();
    assert!(why.contains("model 'echo' cannot be loaded; version 3, 2: ") && why.contains("lanes"), "{why}");
    assert_eq!(why.matches("lanes").count(), 1, "told once: {why}");
    running.assert_serves().await;
    assert_eq!(running.get("/v2/models/echo").await.json()["versions"], json!(["1"]));
    assert_eq!(running.get("/v2/models/echo/config").await.json()["max_batch_size"], 4, "as it was loaded");
    std::fs::remove_dir_all(&echo).unwrap();
    assert_eq!(load("echo", "").await.status, 404);
    running.assert_serves().await;
}

#[tokio::test]
async fn a_model_without_versions_cannot_be_loaded() {
    let running = Running::with(Repository::new().with("bare", ECHO, &[]), CONTROL).await;
    let reply = running.post("/v2/repository/models/bare/load", "").await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.error(), "model 'bare' cannot be loaded: it has no version folder");
}

#[tokio::test]
async fn changes_wait_for_their_turn() {
    let running = Running::with(Repository::new().with("echo", ECHO, &[1]), CONTROL).await;
    let turn = running.worker.store.turn().take().await;
    let mut connection = running.connect().await;
    let mut unload =
        running.spawn(async move { connection.post("/v2/repository/models/echo/unload", "").await });
    running.assert_serves().await;
    assert!(unload.try_recv().is_err());
    drop(turn);
    assert_eq!(unload.await.unwrap().status, 200);
    assert_eq!(running.post("/v2/models/echo/infer", ECHO_ROW).await.status, 503);
}

#[tokio::test]
async fn a_worker_that_stops_changes_nothing_more() {
    let limits = queue(1, 64);
    let (running, gate) = Running::gated(CONTROL, limits).await;
    let mut connection = running.connect().await;
    let accepted = running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await });
    gate.entered().await;
    running.stop();
    for path in ["/v2/repository/models/echo/load", "/v2/repository/models/echo/unload"] {
        let reply = running.post(path, "").await;
        assert_eq!((reply.status, reply.header("weir-reason")), (503, "draining"), "{path}");
    }
    gate.open(1);
    assert_eq!(accepted.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_label_stands_wherever_a_version_does() {
    let toml = format!("version_labels = {{ stable = 1, next = 2 }}\n{ECHO}");
    let running = Running::with(Repository::new().with("echo", &toml, &[1, 2]), CONTROL).await;
    let stable = running.post("/v2/models/echo/versions/stable/infer", ECHO_ROW).await;
    assert_eq!((stable.header("weir-served"), &stable.json()["model_version"]), ("echo;1;w-1", &json!("1")));
    assert_eq!(running.get("/v2/models/echo/versions/next").await.json()["versions"], json!(["2"]));
    assert_eq!(running.get("/v2/models/echo/versions/stable/ready").await.status, 200);
    let stats = running.get("/v2/models/echo/versions/stable/stats").await.json();
    assert_eq!(stats["model_stats"][0]["inference_count"], 1);
    let unknown = running.post("/v2/models/echo/versions/beta/infer", ECHO_ROW).await;
    assert_eq!((unknown.status, unknown.header("weir-reason")), (404, "version-not-found"));
    let known = "its versions are 1, 2; its labels are next = 2, stable = 1";
    assert_eq!(unknown.error(), format!("model 'echo' has no version beta: {known}"));
    // A label that moves takes its clients along, at the next load.
    let moved = toml.replace("stable = 1", "stable = 2");
    std::fs::write(running.repository().join("echo/model.toml"), moved).unwrap();
    assert_eq!(running.post("/v2/repository/models/echo/load", "").await.status, 200);
    let stable = running.post("/v2/models/echo/versions/stable/infer", ECHO_ROW).await;
    assert_eq!(stable.header("weir-served"), "echo;2;w-1");
}

#[tokio::test]
async fn a_call_with_more_than_a_call_can_mean_is_too_large() {
    let running = Running::with(Repository::echo(), CONTROL).await;
    let body = format!("{{\"parameters\": {{\"file:1/model.pt\": \"{}\"}}}}", "A".repeat(1 << 20));
    let request = Request::post("/v2/repository/models/echo/load");
    assert_eq!(running.send(request, body).await.status, 413);
    running.assert_serves().await;
}
