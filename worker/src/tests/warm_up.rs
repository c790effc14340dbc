//! What warm-up makes of TorchScript models: batch sizes that are baked in, buckets, and the costs that it reports.

use serde_json::{Value, json};

use super::{
    archive::torchscript,
    fixture::{Repository, Running},
};

/// model.toml of one input and one output of two floats a row.
fn plain(extra: &str) -> String {
    format!(
        "max_batch_size = 8\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1, 2]\n\
         [[output]]\nname = \"y\"\ndatatype = \"FP32\"\nshape = [-1, 2]\n{extra}"
    )
}

fn with(repository: Repository, name: &str, toml: &str, body: &str) -> Repository {
    let repository = repository.with(name, toml, &[1]);
    let file = repository.path().join(name).join("1/model.pt");
    std::fs::write(file, torchscript("x: Tensor", "Tensor", body)).unwrap();
    repository
}

/// A worker's line in the report for each of its models, by name.
async fn lines(running: &Running) -> Value {
    let report = running.get("/v2/load").await.json();
    let models = report["models"].as_array().unwrap();
    models.iter().map(|model| (model["model"].as_str().unwrap().to_owned(), model.clone())).collect()
}

/// Adds to each row a constant that has so many rows: a trace that kept them.
const UP_TO_THREE: &str =
    "kept = torch.zeros([3, 2])\nreturn torch.add(x, torch.slice(kept, 0, 0, torch.size(x, 0)))";

#[tokio::test]
async fn a_batch_size_that_is_baked_in_caps_the_model_and_larger_requests_run_in_parts() {
    let four = "return torch.reshape(x, [4, 2])";
    let repository = with(Repository::new(), "one", &plain(""), "return torch.reshape(x, [1, 2])");
    let repository = with(repository, "three", &plain(""), UP_TO_THREE);
    let repository = with(repository, "four", &plain(""), four);
    let repository = with(repository, "required", &plain("[warmup]\nrows = \"require\"\n"), UP_TO_THREE);
    let running = Running::start(repository).await;
    let lines = lines(&running).await;
    let of = |model: &str| (&lines[model]["state"], &lines[model]["max_batch_size"]);
    assert_eq!(of("one"), (&json!("serving"), &json!(1)));
    assert_eq!(of("three"), (&json!("serving"), &json!(3)));
    for (model, why) in [
        ("four", "a batch of 4 rows works and a single row does not"),
        ("required", "does not batch 8 rows as model.toml requires: a batch of 4 rows"),
    ] {
        assert_eq!(lines[model]["state"], json!("failed"));
        let reason = lines[model]["reason"].as_str().unwrap();
        assert!(reason.starts_with(why), "{reason}");
    }
    let values: Vec<f32> = (0..14_u8).map(f32::from).collect();
    let body = json!({"inputs": [{"name": "x", "shape": [7, 2], "datatype": "FP32", "data": values}]});
    for model in ["one", "three"] {
        let reply = running.post(&format!("/v2/models/{model}/infer"), body.to_string()).await;
        let output = &reply.json()["outputs"][0];
        assert_eq!((&output["shape"], &output["data"]), (&json!([7, 2]), &json!(values)), "{reply:?}");
    }
}

#[tokio::test]
async fn the_report_has_a_cost_for_every_bucket_and_requests_find_theirs_there() {
    let toml = "max_batch_size = 4\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1, -1]\npad_value = 0\n\
                [[output]]\nname = \"y\"\ndatatype = \"FP32\"\nshape = [-1]\n\
                [batching]\nbuckets = [4, 16, 64]\n";
    let repository = with(Repository::new(), "sums", toml, "return torch.sum(x, [1])");
    let running = Running::start(with(repository, "plain", &plain(""), "return torch.mul(x, 2)")).await;
    let shapes = |lines: &Value, model: &str| {
        let latency = lines[model]["estimate"]["latency"].as_array().unwrap();
        for cost in latency {
            assert!(cost["base_us"].as_u64().unwrap() >= 1 && cost["per_unit_ns"].as_u64().unwrap() >= 1_000);
        }
        latency.iter().map(|cost| cost["shape"].clone()).collect::<Vec<_>>()
    };
    let expected = [json!([4]), json!([16]), json!([64])];
    assert_eq!(shapes(&lines(&running).await, "sums"), expected);
    assert_eq!(shapes(&lines(&running).await, "plain"), [json!([])]);
    let body = r#"{"inputs":[{"name":"x","shape":[1,9],"datatype":"FP32","data":[1,2,3,4,5,6,7,8,9]}]}"#;
    // What is not known is learned from a few batches.
    for _ in 0..8 {
        let reply = running.post("/v2/models/sums/infer", body).await;
        assert_eq!(reply.json()["outputs"][0]["data"], json!([45.0]));
    }
    assert_eq!(shapes(&lines(&running).await, "sums"), expected, "nothing had to be learned");
}
