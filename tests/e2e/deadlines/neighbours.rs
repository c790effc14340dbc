//! Requests that break the forward pass share a batch with others, which must not notice.

use std::process::Command;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_tests::{Client, Fleet, FleetBuilder, WorkerSpec, infer, metrics, place::binary};

/// Good requests, and as many bad ones: together one batch of the model.
const GOOD: u64 = 16;
/// Indices of a row; the model's table has 1000.
const WORDS: u64 = 8;

/// The model `alone`, a table that is looked up, and the same as `m`, whose batches wait until they are full.
fn add_models(builder: &FleetBuilder) {
    let folder = builder.repository.folder();
    let made =
        Command::new(binary("examples/models").unwrap()).arg("embedding").arg(folder).output().unwrap();
    assert!(made.status.success(), "examples/models: {made:?}");
    for name in ["alone", "m"] {
        std::fs::create_dir_all(folder.join(name).join("1")).unwrap();
        for file in ["model.toml", "1/model.pt"] {
            std::fs::copy(folder.join("embedding").join(file), folder.join(name).join(file)).unwrap();
        }
    }
    std::fs::remove_dir_all(folder.join("embedding")).unwrap();
    let toml = std::fs::read_to_string(folder.join("m/model.toml")).unwrap();
    builder
        .repository
        .write("m/model.toml", &format!("{toml}[batching]\nmax_queue_delay = \"30s\"\n"))
        .unwrap();
}

/// A row of indices, all within the table but the last when it is bad.
fn words(index: u64, bad: bool) -> Value {
    let mut words: Vec<_> = (0..WORDS).map(|word| (index * 37 + word * 11) % 1000).collect();
    if bad {
        words[7] = 1000 + index;
    }
    json!({ "inputs": [{ "name": "x", "datatype": "INT64", "shape": [1, WORDS], "data": words }] })
}

async fn ask(client: Client, model: &str, body: Value) -> (u16, String, Value) {
    let reply = client.post_json(&infer::path(model), &body).await.unwrap();
    let json = reply.json().unwrap();
    (reply.status, reply.header("weir-reason").to_owned(), json["outputs"][0]["data"].clone())
}

#[tokio::test]
async fn sixteen_bad_requests_harm_none_of_sixteen_good_ones_in_their_batch() {
    let mut builder = Fleet::builder().unwrap();
    add_models(&builder);
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let gateway = fleet.client();
    let mut together = JoinSet::new();
    for index in 0..GOOD {
        for bad in [false, true] {
            together.spawn(async move { (index, bad, ask(gateway, "m", words(index, bad)).await) });
        }
    }
    let mut answered = 0;
    while let Some(result) = together.join_next().await {
        let (index, bad, (status, reason, data)) = result.unwrap();
        if bad {
            assert_eq!((status, reason.as_str()), (500, "model-failed"), "{index}");
        } else {
            // JSON has the shortest form that reads back to the same float, so equal text is equal bits.
            let alone = ask(gateway, "alone", words(index, false)).await;
            assert_eq!((status, reason, data), alone, "{index}");
            assert_eq!(status, 200);
        }
        answered += 1;
    }
    assert_eq!(answered, 2 * GOOD);
    let worker = fleet.worker("a").unwrap().client();
    let batches = metrics::value(worker, "weir_worker_batch_seconds_count", &["model=\"m\""]).await.unwrap();
    assert_eq!(batches, 1.0, "they were one batch");
    fleet.idle().await.unwrap();
}
