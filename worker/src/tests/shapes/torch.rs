//! TorchScript models whose requests are padded: every answer must be what the model gives for that request alone and
//! not padded.
//!
//! Sums here are exact in any order (small multiples of a half), so answers are compared bit by bit. Queues here know no
//! times from warm-up: which requests share a batch must not depend on how busy the machine is.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use weir_batching::QueueSettings;
use weir_config::ModelConfig;
use weir_protocol::{Bytes as Size, Datatype};

use super::{
    super::{
        archive::torchscript,
        fixture::{Repository, Running, queue},
    },
    all, counts, output,
};
use crate::{
    backend::{self, Backend, Host, InputBatch, OutputBatch},
    device::Cpu,
};

/// Longest request.
const LONGEST: usize = 8;

/// Sums `x` where the mask is 1.
const SUMS: &str = r#"
max_batch_size = 8
[[input]]
name = "x"
datatype = "FP32"
shape = [-1, -1]
pad_value = 1000.0
[[input]]
name = "mask"
datatype = "FP32"
shape = [-1, -1]
mask = true
[[output]]
name = "sum"
datatype = "FP32"
shape = [-1]
[batching]
buckets = [8]
"#;

const SUMS_FORWARD: &str = "return torch.sum(torch.mul(x, mask), [1])";

/// Three scores for each token, from the token and from the mean of the request's tokens.
const TAGS: &str = r#"
max_batch_size = 8
[[input]]
name = "ids"
datatype = "INT64"
shape = [-1, -1]
pad_value = 7
[[input]]
name = "mask"
datatype = "BOOL"
shape = [-1, -1]
mask = true
[[output]]
name = "scores"
datatype = "FP32"
shape = [-1, -1, 3]
unpad = true
[batching]
buckets = [8]
"#;

const TAGS_FORWARD: &str = "weight = torch.reshape(torch.arange(24.), [8, 3])
embedded = torch.embedding(weight, ids)
real = torch.unsqueeze(torch.to(mask, 6), 2)
total = torch.sum(torch.mul(embedded, real), [1], True)
return torch.add(embedded, torch.div(total, torch.sum(real, [1], True)))";

/// A queue whose batches wait until they have so many rows.
fn full(rows: u32) -> QueueSettings {
    QueueSettings { max_queue_delay: Duration::from_secs(60), ..queue(rows, 1024) }
}

/// A model that serves, and the same file in a backend of its own.
struct Model {
    running: Running,
    alone: Arc<dyn Backend>,
}

impl Model {
    async fn new(toml: &str, settings: QueueSettings, arguments: &str, body: &str) -> Self {
        let repository = Repository::new().with("m", toml, &[1]);
        let file = repository.path().join("m/1/model.pt");
        std::fs::write(&file, torchscript(arguments, "Tensor", body)).unwrap();
        let config = ModelConfig::parse(toml, Path::new("model.toml")).unwrap();
        let host = Host { cpu: Cpu::new(Size::mib(1 << 20)), intra_op_threads: 1 };
        let alone = backend::load(&config, &file, &host).unwrap();
        let running = Running::backed(repository, "", settings, Arc::clone(&alone)).await;
        Self { running, alone }
    }

    /// What the model gives for inputs of one row that nobody padded.
    fn alone(&self, inputs: &[(Datatype, &[u8])], length: usize) -> OutputBatch {
        let _scope = backend::enter_lane(1);
        let shape = vec![1, i64::try_from(length).unwrap()];
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(datatype, data)| InputBatch::whole(*datatype, shape.clone(), vec![data]))
            .collect();
        self.alone.forward(&inputs).unwrap().remove(0)
    }

    /// One request of each length, in one batch; the answers by length: shape and data.
    async fn all_lengths(&self, input: impl Fn(usize) -> Value) -> Vec<(Value, Vec<f32>)> {
        let bodies = (1..=LONGEST).map(|length| json!({ "inputs": [input(length)] }).to_string()).collect();
        let replies = all(&self.running, "m", bodies).await;
        assert_eq!(counts(&self.running, "m").await.2, json!(1), "one forward pass for all");
        let floats = |(shape, data)| (shape, serde_json::from_value(data).unwrap());
        replies.iter().map(output).map(floats).collect()
    }
}

fn floats(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[tokio::test]
async fn a_masked_sum_is_the_same_padded_and_alone() {
    let model = Model::new(SUMS, full(8), "x: Tensor, mask: Tensor", SUMS_FORWARD).await;
    let values = |length: usize| -> Vec<f32> {
        (0..length).map(|at| f32::from(u8::try_from(at * length).unwrap()) - 10.5).collect()
    };
    let input =
        |length| json!({"name": "x", "shape": [1, length], "datatype": "FP32", "data": values(length)});
    for (length, (shape, data)) in (1..).zip(model.all_lengths(input).await) {
        let inputs: [(_, &[u8]); 2] =
            [(Datatype::Fp32, &raw(&values(length))), (Datatype::Fp32, &raw(&vec![1.0; length]))];
        let alone = floats(&model.alone(&inputs, length).data);
        assert_eq!((shape, data), (json!([1]), alone), "length {length}");
    }
}

#[tokio::test]
async fn the_scores_of_each_token_are_the_same_padded_and_alone() {
    let model = Model::new(TAGS, full(8), "ids: Tensor, mask: Tensor", TAGS_FORWARD).await;
    let ids =
        |length: usize| -> Vec<i64> { (0..length).map(|at| i64::try_from(at * 5 % 8).unwrap()).collect() };
    let input =
        |length| json!({"name": "ids", "shape": [1, length], "datatype": "INT64", "data": ids(length)});
    for (length, (shape, data)) in (1..).zip(model.all_lengths(input).await) {
        let raw_ids: Vec<u8> = ids(length).iter().flat_map(|id| id.to_le_bytes()).collect();
        let inputs: [(_, &[u8]); 2] = [(Datatype::Int64, &raw_ids), (Datatype::Bool, &vec![1; length])];
        let alone = model.alone(&inputs, length);
        assert_eq!(shape, json!([1, length, 3]));
        assert_eq!(data, floats(&alone.data), "length {length}");
    }
}

#[tokio::test]
async fn a_mask_that_the_request_brings_is_used_and_padded_with_0() {
    let model = Model::new(SUMS, full(1), "x: Tensor, mask: Tensor", SUMS_FORWARD).await;
    let tensor = |name: &str, data: &[f32]| json!({"name": name, "shape": [1, data.len()], "datatype": "FP32", "data": data});
    let send = |mask: &[f32]| {
        let inputs = [tensor("mask", mask), tensor("x", &[1.0, 2.0, 4.0])];
        all(&model.running, "m", vec![json!({ "inputs": inputs }).to_string()])
    };
    assert_eq!(output(&send(&[1.0, 0.0, 1.0]).await[0]).1, json!([5.0]));
    let reply = &send(&[1.0, 0.0]).await[0];
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("must be equally long"), "{reply:?}");
}

#[tokio::test]
async fn requests_with_and_without_a_mask_share_a_batch() {
    let model = Model::new(SUMS, full(3), "x: Tensor, mask: Tensor", SUMS_FORWARD).await;
    let tensor = |name: &str, shape: [usize; 2], data: &[f32]| json!({"name": name, "shape": shape, "datatype": "FP32", "data": data});
    let x = tensor("x", [1, 3], &[1.0, 2.0, 4.0]);
    let brought = json!({ "inputs": [x, tensor("mask", [1, 3], &[0.0, 1.0, 1.0])] });
    let made = json!({ "inputs": [tensor("x", [2, 4], &[1.0, 2.0, 4.0, 8.0, 0.5, 0.5, 0.5, 0.5])] });
    let replies = all(&model.running, "m", vec![brought.to_string(), made.to_string()]).await;
    assert_eq!(output(&replies[0]).1, json!([6.0]));
    assert_eq!(output(&replies[1]).1, json!([15.0, 2.0]));
    assert_eq!(counts(&model.running, "m").await.2, json!(1), "one forward pass");
}

#[tokio::test]
async fn an_output_that_is_not_as_long_as_its_inputs_is_never_cut_back() {
    let forward = "weight = torch.reshape(torch.arange(24.), [8, 3])
return torch.embedding(weight, torch.slice(ids, 1, 0, -1))";
    let model = Model::new(TAGS, full(1), "ids: Tensor, mask: Tensor", forward).await;
    let body = json!({"inputs": [{"name": "ids", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}]});
    let reply = &all(&model.running, "m", vec![body.to_string()]).await[0];
    let told = reply.error();
    assert_eq!(reply.status, 500, "{told}");
    assert!(told.contains("output 'scores' has length 7 for inputs padded to 8"), "{told}");
}

#[tokio::test]
async fn a_model_that_pads_is_warmed_up_in_its_buckets_and_serves() {
    let repository = Repository::new().with("m", &TAGS.replace("[8]", "[2, 8]"), &[1]);
    let file = repository.path().join("m/1/model.pt");
    std::fs::write(&file, torchscript("ids: Tensor, mask: Tensor", "Tensor", TAGS_FORWARD)).unwrap();
    let running = Running::start(repository).await;
    for length in [1, 2, 3, 8] {
        let ids = vec![1; length];
        let body =
            json!({"inputs": [{"name": "ids", "shape": [1, length], "datatype": "INT64", "data": ids}]});
        let (shape, data) = output(&all(&running, "m", vec![body.to_string()]).await[0]);
        // Every token is row 1 of the weights, and so is their mean.
        assert_eq!((shape, data), (json!([1, length, 3]), json!([6.0, 8.0, 10.0].repeat(length))));
    }
}

#[tokio::test]
async fn one_part_that_fails_is_one_error_for_the_whole_request_and_harms_no_other() {
    let toml = r#"
max_batch_size = 2
[[input]]
name = "index"
datatype = "INT64"
shape = [-1]
[[output]]
name = "row"
datatype = "FP32"
shape = [-1, 3]
"#;
    let forward = "weight = torch.reshape(torch.arange(12.), [4, 3])\nreturn torch.embedding(weight, index)";
    let model = Model::new(toml, queue(2, 1024), "index: Tensor", forward).await;
    let body = |indexes: &[i64]| {
        let input = json!({"name": "index", "shape": [indexes.len()], "datatype": "INT64", "data": indexes});
        json!({ "inputs": [input] }).to_string()
    };
    let bodies = vec![body(&[0, 1, 2, 3, 99]), body(&[3, 2, 1]), body(&[0])];
    let replies = all(&model.running, "m", bodies).await;
    assert_eq!((replies[0].status, replies[0].header("weir-reason")), (500, "model-failed"));
    assert!(replies[0].error().contains("index out of range"));
    let three = [9.0, 10.0, 11.0, 6.0, 7.0, 8.0, 3.0, 4.0, 5.0];
    assert_eq!(output(&replies[1]), (json!([3, 3]), json!(three)));
    assert_eq!(output(&replies[2]), (json!([1, 3]), json!([0.0, 1.0, 2.0])));
    let stats = model.running.get("/v2/models/m/stats").await.json();
    let stats = &stats["model_stats"][0]["inference_stats"];
    assert_eq!((&stats["success"]["count"], &stats["fail"]["count"]), (&json!(2), &json!(1)));
}
