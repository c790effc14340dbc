//! Requests of any length and of more rows than a batch come back as they went in: at a worker and through the gateway, as
//! JSON, as binary tensors and as messages.

use anyhow::{Result, ensure};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use weir_protocol::grpc::{ModelInferRequest, model_infer_request::InferInputTensor};
use weir_tests::{Client, Fleet, GrpcClient, Reply, WorkerSpec, infer};

/// Rows of a batch, most rows of a request, and rows of the requests here.
const BATCH: usize = 4;
const MOST: usize = 16;
const ROWS: usize = 10;

/// A tensor in the form in which it travels.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    datatype: &'static str,
    shape: Vec<usize>,
    json: Value,
    raw: Vec<u8>,
}

fn numbers(rows: usize, length: usize) -> Tensor {
    let data: Vec<i32> = (0..).take(rows * length).collect();
    let raw = data.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor { datatype: "INT32", shape: vec![rows, length], json: json!(data), raw }
}

fn words(rows: usize) -> Tensor {
    let data: Vec<_> = (0..rows).map(|row| "é".repeat(row)).collect();
    let mut raw = Vec::new();
    data.iter().for_each(|word| weir_protocol::infer::push_string(&mut raw, word.as_bytes()).unwrap());
    Tensor { datatype: "BYTES", shape: vec![rows, 1], json: json!(data), raw }
}

/// A model that gives back its input `x` as `y`; `keys` are those of the two tensors and of `[batching]`.
fn echo(datatype: &str, width: i64, keys: (&str, &str, &str)) -> String {
    let tensor = |table, name, keys| {
        format!("[[{table}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = [-1, {width}]\n{keys}\n")
    };
    let (input, output, batching) = keys;
    format!(
        "backend = \"synthetic\"\nmax_batch_size = {BATCH}\n{}{}\
         [batching]\nmax_queue_size = {MOST}\n{batching}\n[synthetic]\nbase = \"0s\"\nper_item = \"0s\"\n",
        tensor("input", "x", input),
        tensor("output", "y", output)
    )
}

/// A worker with a model of lengths and one of words, and the gateway before it.
async fn fleet() -> Fleet {
    let mask = "[[input]]\nname = \"mask\"\ndatatype = \"BOOL\"\nshape = [-1, -1]\nmask = true";
    let padded = format!("pad_value = -1\n{mask}");
    let mut builder = Fleet::builder().unwrap();
    for (name, toml) in [
        ("lengths", echo("INT32", -1, (&padded, "unpad = true", "buckets = [4, 8]"))),
        ("words", echo("BYTES", 1, ("", "", ""))),
    ] {
        builder.repository.write(&format!("{name}/model.toml"), &toml).unwrap();
        std::fs::create_dir_all(builder.repository.folder().join(name).join("1")).unwrap();
    }
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

async fn by_json(client: Client, model: &str, tensor: &Tensor) -> Result<Reply> {
    let Tensor { datatype, shape, json, .. } = tensor;
    let input = json!({ "name": "x", "datatype": datatype, "shape": shape, "data": json });
    client.post_json(&infer::path(model), &json!({ "inputs": [input] })).await
}

async fn by_binary(client: Client, model: &str, tensor: &Tensor) -> Result<Reply> {
    let Tensor { datatype, shape, raw, .. } = tensor;
    let size = json!({ "binary_data_size": raw.len() });
    let input = json!({ "name": "x", "datatype": datatype, "shape": shape, "parameters": size });
    let head = json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string();
    let request = Request::post(infer::path(model)).header("inference-header-content-length", head.len());
    client.send(request.body(Full::from([head.as_bytes(), raw].concat()))?).await
}

fn message(model: &str, tensor: &Tensor) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".to_owned(),
        datatype: tensor.datatype.to_owned(),
        shape: tensor.shape.iter().map(|&dimension| dimension as i64).collect(),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![tensor.raw.clone().into()],
        ..ModelInferRequest::default()
    }
}

/// Checks that a tensor comes back in each of the three forms.
async fn comes_back((rest, grpc): (Client, &GrpcClient), model: &str, tensor: &Tensor) -> Result<()> {
    let reply = by_json(rest, model, tensor).await?;
    let output = reply.json()?["outputs"][0].clone();
    ensure!((&output["shape"], &output["data"]) == (&json!(tensor.shape), &tensor.json), "JSON: {reply}");

    let reply = by_binary(rest, model, tensor).await?;
    ensure!(reply.status == 200, "binary: {reply}");
    let head: usize = reply.header("inference-header-content-length").parse()?;
    let (json, raw) = reply.body.split_at(head);
    let json: Value = serde_json::from_slice(json)?;
    ensure!(json["outputs"][0]["shape"] == json!(tensor.shape) && raw == tensor.raw, "binary: {json}");

    let answer = grpc.infer(&message(model, tensor)).await?.into_inner();
    let shape: Vec<_> = answer.outputs[0].shape.iter().map(|&dimension| dimension as usize).collect();
    ensure!(shape == tensor.shape && answer.raw_output_contents[0] == tensor.raw, "gRPC: {answer:?}");
    Ok(())
}

#[tokio::test]
async fn any_length_and_number_of_rows_comes_back_in_every_form() {
    let mut fleet = fleet().await;
    let gateway = (fleet.client(), fleet.gateway.grpc().unwrap());
    let worker = fleet.worker("a").unwrap();
    let worker = (worker.client(), worker.grpc().unwrap());
    for (place, (rest, grpc)) in [("worker", worker), ("gateway", gateway)] {
        for (rows, length) in [(1, 1), (BATCH, 4), (ROWS, 5), (MOST, 8)] {
            let came = comes_back((rest, &grpc), "lengths", &numbers(rows, length)).await;
            came.unwrap_or_else(|error| panic!("{place}, {rows} rows of length {length}: {error:#}"));
        }
        for rows in [1, ROWS, MOST] {
            let came = comes_back((rest, &grpc), "words", &words(rows)).await;
            came.unwrap_or_else(|error| panic!("{place}, {rows} words: {error:#}"));
        }
        for (tensor, says) in
            [(numbers(1, 9), "has length 9: expected at most 8"), (numbers(MOST + 1, 2), "has 17 rows")]
        {
            let reply = by_json(rest, "lengths", &tensor).await.unwrap();
            assert!(reply.status == 400 && reply.error().unwrap().contains(says), "{place}: {reply}");
            let status = grpc.infer(&message("lengths", &tensor)).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{place}");
            assert!(status.message().contains(says), "{place}: {status:?}");
        }
    }
    fleet.idle().await.unwrap();
}
