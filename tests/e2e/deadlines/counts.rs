//! Under load of every kind: what clients saw, the metrics and the statistics extension tell the same story.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_tests::{
    Client, GrpcClient,
    grpc::{path, wire},
    infer, metrics,
};

use super::{arrived, fleet, message, model, row, sent};

/// Clients at a time, and requests of each.
const CLIENTS: usize = 40;
const EACH: usize = 8;
/// Clients that hang up.
const LEAVING: u64 = 5;

/// What clients saw: how often each outcome (`ok` or a reason), and each `weir-refused`.
#[derive(Debug, Default)]
struct Seen {
    outcomes: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
}

impl Seen {
    fn add(&mut self, reason: &str, refused: &str) {
        let outcome = if reason.is_empty() { "ok" } else { reason };
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
        if !refused.is_empty() {
            *self.refused.entry(refused.to_owned()).or_default() += 1;
        }
    }

    fn join(&mut self, other: Self) {
        for (mine, others) in [(&mut self.outcomes, other.outcomes), (&mut self.refused, other.refused)] {
            for (name, count) in others {
                *mine.entry(name).or_default() += count;
            }
        }
    }

    fn of(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or_default()
    }
}

/// One client's requests: good ones, ones with little time, wrong ones, of a model that is not there, over gRPC.
async fn client(rest: Client, grpc: GrpcClient) -> Seen {
    let mut seen = Seen::default();
    for index in 0..EACH {
        let (model, body) = match index % 4 {
            0 => ("m", row(json!({}))),
            1 => ("m", row(json!({ "timeout": 60_000 }))),
            2 if index < 4 => ("m", infer::rows(1, 5)),
            2 => ("nobody", row(json!({}))),
            _ => {
                let frame = wire::frame(&message("timeout", 200_000).encode_to_vec());
                let request = wire::request(grpc.address(), &path("ModelInfer"), frame).unwrap();
                let reply = wire::send(grpc.address(), request).await.unwrap();
                let header = |name| reply.headers.get(name).map_or("", |value| value.to_str().unwrap());
                seen.add(header("weir-reason"), header("weir-refused"));
                continue;
            }
        };
        let reply = rest.post_json(&infer::path(model), &body).await.unwrap();
        seen.add(reply.header("weir-reason"), reply.header("weir-refused"));
    }
    seen
}

#[tokio::test]
async fn metrics_and_statistics_count_what_clients_saw() {
    let toml = model("40ms", 4, "max_queue_size = 24") + "failure_ratio = 0.6\n";
    let mut fleet = fleet(&[("m", toml), ("slow", model("2s", 1, ""))]).await;
    let (rest, grpc) = {
        let worker = fleet.worker("a").unwrap();
        (worker.client(), worker.grpc().unwrap())
    };
    let mut leaving = Vec::new();
    for count in 1..=LEAVING {
        leaving.push(sent(rest.address(), "slow").await);
        arrived(&mut fleet, count, count - 1).await;
    }
    // Who waited for the worker to be ready was told that it is not, and counted.
    let before = metrics::value(rest, "weir_worker_requests_total", &["outcome=\"not-ready\""]).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(rest, grpc.clone()));
    }
    drop(leaving);
    let mut seen = Seen::default();
    while let Some(part) = clients.join_next().await {
        seen.join(part.unwrap());
    }
    fleet.idle().await.unwrap();
    check_metrics(rest, &seen, before.unwrap_or_default()).await;
    check_statistics(rest, &seen).await;
}

async fn check_metrics(worker: Client, seen: &Seen, before: f64) {
    assert_eq!(seen.outcomes.values().sum::<u64>(), (CLIENTS * EACH) as u64, "every request was answered");
    for kind in ["ok", "bad-request", "model-not-found", "model-failed", "queue-full", "shed"] {
        assert!(seen.of(kind) > 0, "the load had no {kind}: {seen:?}");
    }
    let page = String::from_utf8(worker.get("/metrics").await.unwrap().body.to_vec()).unwrap();
    let requests = metrics::value(worker, "weir_worker_requests_total", &[]).await.unwrap();
    assert_eq!(requests - before, (CLIENTS * EACH) as f64 + LEAVING as f64, "{seen:?}\n{page}");
    for (outcome, count) in &seen.outcomes {
        let label = format!("outcome=\"{outcome}\"");
        let counted = metrics::value(worker, "weir_worker_requests_total", &[&label]).await.unwrap();
        assert_eq!(counted, *count as f64, "{outcome}: {seen:?}\n{page}");
    }
    let left = metrics::value(worker, "weir_worker_requests_total", &["outcome=\"left\""]).await.unwrap();
    assert_eq!(left, LEAVING as f64);
    for (refusal, count) in &seen.refused {
        let label = format!("reason=\"{refusal}\"");
        let counted = metrics::value(worker, "weir_worker_refused_total", &[&label]).await.unwrap();
        assert_eq!(counted, *count as f64, "{refusal}: {seen:?}\n{page}");
    }
    let refused = metrics::value(worker, "weir_worker_refused_total", &[]).await.unwrap();
    assert_eq!(refused, seen.refused.values().sum::<u64>() as f64, "{page}");
}

/// The statistics extension counts requests that reached a version, as the metrics do that name one.
async fn check_statistics(worker: Client, seen: &Seen) {
    let mut failed = 0.0;
    for name in ["m", "slow"] {
        let model = format!("model=\"{name}\"");
        let of = async |outcome: &[&str]| {
            let labels: Vec<_> = [model.as_str()].into_iter().chain(outcome.iter().copied()).collect();
            metrics::value(worker, "weir_worker_requests_total", &labels).await.unwrap()
        };
        let page = worker.get(&format!("/v2/models/{name}/stats")).await.unwrap().json().unwrap();
        let stats = &page["model_stats"][0]["inference_stats"];
        let number = |value: &Value| value["count"].as_f64().unwrap();
        let ok = of(&["outcome=\"ok\""]).await;
        assert_eq!(number(&stats["success"]), ok, "{name}: {page}");
        assert_eq!(number(&stats["fail"]), of(&[]).await - ok, "{name}: {page}");
        failed += number(&stats["fail"]);
        let passes = metrics::value(worker, "weir_worker_batch_rows_count", &[&model]).await.unwrap();
        assert!(page["model_stats"][0]["execution_count"].as_f64() <= Some(passes), "{name}: {page}");
    }
    let reached: u64 = ["bad-request", "model-failed"].iter().map(|reason| seen.of(reason)).sum();
    assert!(failed >= (reached + LEAVING) as f64, "{failed} failed of {seen:?}");
}
