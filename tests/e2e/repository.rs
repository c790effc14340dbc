//! Repository and statistics calls: a worker speaks for itself, the gateway for the fleet, and only operators change
//! anything.

use std::collections::BTreeSet;

use anyhow::ensure;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use weir_tests::{Client, Fleet, Repository, Synthetic, WorkerSpec, eventually, infer};

const LOAD: &str = "/v2/repository/models/m/load";
const UNLOAD: &str = "/v2/repository/models/m/unload";

/// Rows of an index as `name version state`.
async fn index(client: Client, body: &str) -> BTreeSet<String> {
    let reply = client.post("/v2/repository/index", body.to_owned()).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| format!("{} {} {}", text(row, "name"), text(row, "version"), text(row, "state"));
    reply.json().unwrap().as_array().unwrap().iter().map(row).collect()
}

fn set(rows: &[&str]) -> BTreeSet<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

#[tokio::test]
async fn the_gateways_index_is_the_union_of_its_workers_with_the_best_state() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { versions: 2, ..Synthetic::default() }).unwrap();
    let own = tempfile::tempdir().unwrap();
    let repository = Repository::create(own.path().join("models")).unwrap();
    repository.add("m", &Synthetic { versions: 3, ..Synthetic::default() }).unwrap();
    repository.add_digits().unwrap();
    // Fails here, and is nowhere else.
    repository.write("digits/9/model.pt", "not a model").unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut b = WorkerSpec::named("b").unwrap();
    b.repository = Some(repository.folder().to_owned());
    builder.worker(b);
    let mut fleet = builder.launch().unwrap();
    fleet.gateway.ready().await.unwrap();
    fleet.ready().await.unwrap();

    let of_a = set(&["m 1 READY", "m 2 READY"]);
    let of_b = set(&[
        "digits 1 READY",
        "digits 2 READY",
        "digits 9 UNAVAILABLE",
        "m 1 READY",
        "m 2 READY",
        "m 3 READY",
    ]);
    eventually("all of it loaded and known", async || {
        let rows = index(fleet.client(), "").await;
        ensure!(rows == of_b, "{rows:?}");
        Ok(())
    })
    .await
    .unwrap();
    for (name, expected) in [("a", &of_a), ("b", &of_b)] {
        let client = fleet.worker(name).unwrap().client();
        assert_eq!(index(client, "{}").await, *expected, "{name}");
    }
    let ready: BTreeSet<_> = of_b.iter().filter(|row| row.ends_with("READY")).cloned().collect();
    for client in [fleet.client(), fleet.worker("b").unwrap().client()] {
        assert_eq!(index(client, r#"{"ready":true}"#).await, ready);
        assert_eq!(index(client, r#"{"ready":false}"#).await, of_b);
        let reply = client.post("/v2/repository/any/index", "").await.unwrap().json().unwrap();
        let failed = reply.as_array().unwrap().iter().find(|row| row["version"] == "9").unwrap();
        assert!(failed["reason"].as_str().unwrap().len() > 10, "{failed}");
        let wrong = client.post("/v2/repository/index", r#"{"ready":1}"#).await.unwrap();
        assert_eq!((wrong.status, wrong.header("weir-reason")), (400, "bad-request"), "{wrong}");
    }
}

/// The statistics of version 1 of `m`.
async fn statistics(client: Client) -> Value {
    let reply = client.get("/v2/models/m/versions/1/stats").await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let mut json = reply.json().unwrap();
    assert_eq!(json["model_stats"].as_array().unwrap().len(), 1, "{json}");
    json["model_stats"][0].take()
}

/// Every count and time of a statistic by its path.
fn numbers(value: &Value, path: &str, found: &mut Vec<(String, u64)>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| numbers(value, &format!("{path}/{key}"), found))
        }
        Value::Number(number) => found.push((path.to_owned(), number.as_u64().unwrap())),
        _ => {}
    }
}

fn of(statistics: &Value) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let parts = ["inference_count", "execution_count", "inference_stats"];
    parts.into_iter().for_each(|part| numbers(&statistics[part], part, &mut found));
    assert!(found.len() > 10, "{statistics}");
    found
}

#[tokio::test]
async fn the_gateways_statistics_are_the_sums_of_its_workers() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a", "b"]).await.unwrap();
    for number in 0..40 {
        let rows = infer::rows(1 + number % 3, 4);
        let reply = fleet.client().post_json(&infer::path("m"), &rows).await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
    }
    let wrong = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 5)).await.unwrap();
    assert_eq!(wrong.status, 400, "{wrong}");

    let a = statistics(fleet.worker("a").unwrap().client()).await;
    let b = statistics(fleet.worker("b").unwrap().client()).await;
    let all = statistics(fleet.client()).await;
    let sums: Vec<_> =
        of(&a).into_iter().zip(of(&b)).map(|((path, one), (_, other))| (path, one + other)).collect();
    assert_eq!(of(&all), sums, "{a}\n{b}");
    for worker in [&a, &b] {
        assert!(worker["inference_count"].as_u64() > Some(0), "a worker took no part: {worker}");
        let stats = &worker["inference_stats"];
        let parts = ["queue", "compute_input", "compute_infer", "compute_output"];
        for part in parts {
            assert_eq!(stats[part]["count"], stats["success"]["count"], "{part}: {stats}");
        }
        // All of the parts lie within the whole.
        let spent: u64 = parts.iter().map(|part| stats[part]["ns"].as_u64().unwrap()).sum();
        assert!(spent > 0 && spent <= stats["success"]["ns"].as_u64().unwrap(), "{stats}");
    }
    assert_eq!(all["inference_count"], 79, "rows of 40 requests: {all}");
    assert_eq!(all["inference_stats"]["success"]["count"], 40, "{all}");
    let batches = all["batch_stats"].as_array().unwrap();
    let passes: u64 = batches.iter().map(|batch| batch["compute_infer"]["count"].as_u64().unwrap()).sum();
    assert_eq!(all["execution_count"].as_u64(), Some(passes), "{all}");
    let last = [&a, &b].map(|worker| worker["last_inference"].as_u64()).into_iter().max().unwrap();
    assert_eq!(all["last_inference"].as_u64(), last);
    assert!(last > Some(1_700_000_000_000), "milliseconds since 1970: {last:?}");

    let models = fleet.client().get("/v2/models/stats").await.unwrap().json().unwrap();
    assert_eq!(models["model_stats"], json!([all]));
    let unknown = fleet.client().get("/v2/models/nope/stats").await.unwrap();
    assert_eq!((unknown.status, unknown.header("weir-reason")), (404, "model-not-found"), "{unknown}");

    // One that cannot be asked is left out.
    fleet.worker("b").unwrap().process().kill().unwrap();
    eventually("the sum without it", async || {
        let left = statistics(fleet.client()).await;
        ensure!(of(&left) == of(&a), "{left}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn serves(client: Client) -> u16 {
    client.post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap().status
}

#[tokio::test]
async fn models_load_and_unload_at_a_worker_that_allows_it() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { versions: 2, ..Synthetic::default() }).unwrap();
    let mut open = WorkerSpec::named("open").unwrap();
    open.worker_toml = "control = true".to_owned();
    builder.worker(open);
    builder.worker(WorkerSpec::named("closed").unwrap());
    let repository = builder.repository.clone();
    let mut fleet = builder.start().await.unwrap();
    let closed = fleet.worker("closed").unwrap().client();
    for (place, client) in [("a worker without control", closed), ("gateway", fleet.client())] {
        for path in [LOAD, UNLOAD] {
            let reply = client.post(path, "").await.unwrap();
            assert_eq!((reply.status, reply.header("weir-reason")), (403, "forbidden"), "{place}: {reply}");
            reply.error().unwrap();
        }
        assert_eq!(serves(client).await, 200, "{place}");
    }

    let open = fleet.worker("open").unwrap().client();
    let reply = open.post(UNLOAD, r#"{"parameters":{"unload_dependents":false}}"#).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let gone = open.post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
    assert_eq!((gone.status, gone.header("weir-reason")), (503, "not-ready"), "{gone}");
    assert_eq!(index(open, "").await, set(&["m 1 UNAVAILABLE", "m 2 UNAVAILABLE"]));
    assert_eq!(serves(fleet.client()).await, 200, "the other worker serves on");
    for body in ["", "{}"] {
        let reply = open.post(LOAD, body).await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        // It is synchronous.
        assert_eq!(serves(open).await, 200, "{body}");
    }
    // A model that was not there when the worker started.
    repository.add("late", &Synthetic::default()).unwrap();
    let late = "/v2/repository/models/late/load";
    assert_eq!(open.post(late, "").await.unwrap().status, 200);
    eventually("the gateway to route to it", async || {
        let reply = fleet.client().post_json(&infer::path("late"), &infer::rows(1, 4)).await?;
        ensure!(reply.status == 200, "{reply}");
        Ok(())
    })
    .await
    .unwrap();
    let unknown = open.post("/v2/repository/models/nope/load", "").await.unwrap();
    assert_eq!((unknown.status, unknown.header("weir-reason")), (404, "model-not-found"), "{unknown}");
    let overridden = open.post(LOAD, r#"{"parameters":{"config":"{}"}}"#).await.unwrap();
    assert_eq!((overridden.status, overridden.header("weir-reason")), (501, "unsupported"), "{overridden}");
}

#[tokio::test]
async fn an_operator_loads_and_unloads_on_every_worker_through_the_admin_listener() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    for name in ["a", "b"] {
        let mut worker = WorkerSpec::named(name).unwrap();
        worker.worker_toml = "control = true".to_owned();
        builder.worker(worker);
    }
    let mut fleet = builder.start().await.unwrap();
    let unguarded = fleet.gateway.admin().post(UNLOAD, "").await.unwrap();
    assert!((400..500).contains(&unguarded.status), "a write without the guard's header: {unguarded}");

    let reply = fleet.gateway.change(UNLOAD).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    for name in ["a", "b"] {
        assert_eq!(serves(fleet.worker(name).unwrap().client()).await, 503, "{name}");
    }
    eventually("the gateway to know", async || {
        ensure!(serves(fleet.client()).await == 503);
        Ok(())
    })
    .await
    .unwrap();
    let reply = fleet.gateway.change(LOAD).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    for name in ["a", "b"] {
        assert_eq!(serves(fleet.worker(name).unwrap().client()).await, 200, "{name}");
    }
    let unknown = fleet.gateway.change("/v2/repository/models/nope/load").await.unwrap();
    assert_eq!(unknown.status, 404, "{unknown}");
    let request = Request::post("/v2/repository/index").header("x-weir-admin", "1");
    let rows =
        fleet.gateway.admin().send(request.body(Full::<bytes::Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(rows.json().unwrap()[0]["name"], "m", "{rows}");
}

#[tokio::test]
async fn a_model_that_is_unloaded_under_load_answers_what_it_accepted() {
    let slow = Synthetic { base: std::time::Duration::from_millis(700), ..Synthetic::default() };
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &slow).unwrap();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.worker_toml = "control = true".to_owned();
    builder.worker(worker);
    let mut fleet = builder.start().await.unwrap();
    let client = fleet.worker("a").unwrap().client();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        calls.spawn(serves(client));
    }
    let worker = fleet.worker("a").unwrap();
    eventually("the eight at the worker", async || {
        ensure!(worker.in_flight().await? == 8);
        Ok(())
    })
    .await
    .unwrap();
    let unloaded = client.post(UNLOAD, "").await.unwrap();
    assert_eq!(unloaded.status, 200, "{unloaded}");
    assert_eq!(calls.join_all().await, [200; 8]);
    assert_eq!(serves(client).await, 503);
}
