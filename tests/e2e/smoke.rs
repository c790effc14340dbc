//! A fleet starts, answers and spreads its load.

use serde_json::{Value, json};
use weir_tests::{Client, Fleet, Synthetic, WorkerSpec, infer};

use crate::load;

/// A request for the sample model.
pub(crate) fn image() -> Value {
    json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![0.5; 64] }] })
}

#[tokio::test]
async fn every_worker_takes_part_of_the_load() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a", "b", "c"]).await.unwrap();
    let reply = fleet.client().post_json(&infer::path("m"), &infer::rows(2, 4)).await.unwrap();
    assert_eq!(reply.json().unwrap()["outputs"][0]["shape"], json!([2, 4]), "{reply}");
    let run = load::start(fleet.client(), 200.0);
    load::more(&run, 300).await;
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    let names: Vec<_> = report.workers.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c"], "{report}");
}

async fn scores(client: Client, path: &str) -> Value {
    let reply = client.post_json(path, &image()).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    reply.json().unwrap()["outputs"][0]["data"].clone()
}

#[tokio::test]
async fn the_sample_model_answers_the_same_at_the_worker_and_through_the_gateway() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let worker = fleet.worker("a").unwrap().client();
    let (one, two) = ("/v2/models/digits/versions/1/infer", "/v2/models/digits/versions/2/infer");
    for path in [one, two] {
        assert_eq!(scores(worker, path).await, scores(fleet.client(), path).await, "{path}");
    }
    assert_ne!(scores(worker, one).await, scores(worker, two).await, "two versions, one answer");
    assert_eq!(scores(fleet.client(), "/v2/models/digits/infer").await, scores(worker, two).await);
}
