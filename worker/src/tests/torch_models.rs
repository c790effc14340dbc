//! TorchScript models end to end: results in every form, broken files, rows that fail, models that do not batch.

use http::Request;
use weir_protocol::{
    Datatype, InferRequest, Tensor as Wire,
    codec::{CodecLimits, decode_response, encode_request},
    infer::RequestedOutput,
};

use super::{
    archive::torchscript,
    fixture::{Reply, Repository, Running},
};

/// Writes model.pt of a version: `forward` in TorchScript.
fn save(repository: &Repository, version: &str, arguments: &str, returns: &str, body: &str) {
    let file = repository.path().join(version).join("model.pt");
    std::fs::write(file, torchscript(arguments, returns, body)).unwrap();
}

/// model.toml with float tensors of the given width.
fn toml(inputs: &[&str], outputs: &[&str], extra: &str) -> String {
    let tensor = |kind: &'static str| {
        move |name: &&str| format!("[[{kind}]]\nname = \"{name}\"\ndatatype = \"FP32\"\nshape = [-1, 2]\n")
    };
    let inputs: String = inputs.iter().map(tensor("input")).collect();
    let outputs: String = outputs.iter().map(tensor("output")).collect();
    format!("max_batch_size = 4\n{extra}\n{inputs}{outputs}")
}

/// `sum` and `difference` of `a` and `b`.
async fn arithmetic() -> Running {
    let repository = Repository::new().with("sums", &toml(&["a", "b"], &["sum", "difference"], ""), &[1]);
    let body = "return (torch.add(a, b), torch.sub(a, b))";
    save(&repository, "sums/1", "a: Tensor, b: Tensor", "Tuple[Tensor, Tensor]", body);
    Running::start(repository).await
}

fn wire(name: &str, values: &[f32]) -> Wire {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![values.len() as u64 / 2, 2];
    Wire { name: name.to_owned(), datatype: Datatype::Fp32, shape, data: data.into() }
}

async fn infer(running: &Running, path: &str, request: &InferRequest, binary: bool) -> Reply {
    let encoded = encode_request(request, binary).unwrap();
    let mut post = Request::post(path);
    if let Some(length) = encoded.json_len {
        post = post.header("inference-header-content-length", length);
    }
    running.send(post, encoded.body).await
}

#[tokio::test]
async fn json_and_binary_in_all_four_combinations_give_the_same_result() {
    let running = arithmetic().await;
    for (binary_input, binary_output) in [(false, false), (false, true), (true, false), (true, true)] {
        let request = InferRequest {
            id: Some("42".to_owned()),
            parameters: Default::default(),
            // Not in the model's order.
            inputs: vec![wire("b", &[1.0, 2.0, 3.0, 4.0]), wire("a", &[10.0, 20.0, 30.0, 40.0])],
            outputs: vec![],
            binary_output,
        };
        let reply = infer(&running, "/v2/models/sums/infer", &request, binary_input).await;
        let length = reply.header("inference-header-content-length");
        assert_eq!(!length.is_empty(), binary_output, "{reply:?}");
        let response = decode_response(&reply.body, length.parse().ok(), &CodecLimits::default()).unwrap();
        assert_eq!((response.model_version.as_str(), response.id.as_deref()), ("1", Some("42")));
        let tensors: Vec<_> = response.outputs.into_iter().map(|output| output.tensor).collect();
        let expected = [wire("sum", &[11.0, 22.0, 33.0, 44.0]), wire("difference", &[9.0, 18.0, 27.0, 36.0])];
        assert_eq!(tensors, expected);
    }
}

#[tokio::test]
async fn outputs_come_in_the_order_and_form_that_was_asked_for() {
    let running = arithmetic().await;
    let output = |name: &str, binary| RequestedOutput { name: name.to_owned(), binary };
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![wire("a", &[1.0, 2.0]), wire("b", &[3.0, 5.0])],
        outputs: vec![output("difference", Some(true)), output("sum", None)],
        binary_output: false,
    };
    let reply = infer(&running, "/v2/models/sums/versions/1/infer", &request, true).await;
    let length = reply.header("inference-header-content-length").parse().ok();
    let response = decode_response(&reply.body, length, &CodecLimits::default()).unwrap();
    let forms: Vec<_> = response.outputs.iter().map(|o| (o.tensor.name.as_str(), o.binary)).collect();
    assert_eq!(forms, [("difference", true), ("sum", false)]);
    assert_eq!(response.outputs[0].tensor, wire("difference", &[-2.0, -3.0]));
}

#[tokio::test]
async fn a_corrupt_or_missing_file_fails_that_version_and_the_rest_serves() {
    let repository = Repository::new().with("m", &toml(&["x"], &["y"], ""), &[1, 2, 3, 4]);
    let file = |version: &str| repository.path().join("m").join(version).join("model.pt");
    save(&repository, "m/1", "x: Tensor", "Tensor", "return torch.mul(x, 2)");
    let good = std::fs::read(file("1")).unwrap();
    std::fs::write(file("2"), &good[..good.len() / 2]).unwrap();
    std::fs::write(file("3"), b"this is no zip archive").unwrap();
    let running = Running::start(repository).await;
    let report = running.get("/v2/load").await.json();
    let states: Vec<_> =
        report["models"].as_array().unwrap().iter().map(|m| m["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["serving", "failed", "failed", "failed"]);
    for (index, words) in [(1, "cannot be loaded"), (2, "cannot be loaded"), (3, "4/model.pt is missing")] {
        let reason = report["models"][index]["reason"].as_str().unwrap();
        assert!(reason.contains(words) && !reason.contains(".cpp"), "{reason}");
    }
    let body = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
    let reply = running.post("/v2/models/m/infer", body).await;
    assert_eq!((reply.status, reply.header("weir-served")), (200, "m;1;w-1"));
    assert_eq!(reply.json()["outputs"][0]["data"], serde_json::json!([2.0, 4.0]));
    assert_eq!(running.post("/v2/models/m/versions/2/infer", body).await.status, 503);
    assert_eq!(running.get("/v2/health/ready").await.status, 200, "settled is ready");
}

/// Rows of `weight` by index; an index outside fails the whole forward pass.
async fn lookup() -> Running {
    let text = r#"
max_batch_size = 2
[[input]]
name = "index"
datatype = "INT64"
shape = [-1]
[[output]]
name = "row"
datatype = "FP32"
shape = [-1, 3]
[batching]
max_queue_delay = "60s"
"#;
    let repository = Repository::new().with("lookup", text, &[1]);
    let body = "weight = torch.reshape(torch.arange(12.), [4, 3])\nreturn torch.embedding(weight, index)";
    save(&repository, "lookup/1", "index: Tensor", "Tensor", body);
    Running::start(repository).await
}

#[tokio::test]
async fn a_row_that_fails_does_not_harm_its_neighbour_in_the_batch() {
    let running = lookup().await;
    let body = |index: i64| {
        format!(r#"{{"inputs":[{{"name":"index","shape":[1],"datatype":"INT64","data":[{index}]}}]}}"#)
    };
    for _ in 0..3 {
        // The delay holds either of them until the other fills the batch.
        let (mut good, mut bad) = (running.connect().await, running.connect().await);
        let good = running.spawn(async move { good.post("/v2/models/lookup/infer", body(2)).await });
        let bad = running.spawn(async move { bad.post("/v2/models/lookup/infer", body(99)).await });
        let (good, bad) = (good.await.unwrap(), bad.await.unwrap());
        assert_eq!(good.json()["outputs"][0]["data"], serde_json::json!([6.0, 7.0, 8.0]));
        assert_eq!((bad.status, bad.header("weir-reason")), (500, "model-failed"));
        assert_eq!(bad.header("weir-refused"), "", "it was started");
        let error = bad.error();
        assert!(error.contains("index out of range"), "{error}");
        assert!(!error.contains('/') && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_model_that_does_not_batch_runs_one_row_at_a_time_and_says_so() {
    let repository = Repository::new().with("mixes", &toml(&["x"], &["y"], ""), &[1]).with(
        "baked",
        &toml(&["x"], &["y"], ""),
        &[1],
    );
    save(&repository, "mixes/1", "x: Tensor", "Tensor", "return torch.sub(x, torch.mean(x, [0], True))");
    save(&repository, "baked/1", "x: Tensor", "Tensor", "return torch.reshape(x, [1, 2])");
    let checked = crate::check::run(repository.path(), &host(), 1).unwrap();
    assert!(!checked.good);
    assert!(checked.table.contains("differs when the row runs in a batch of 2"), "{}", checked.table);
    assert!(checked.table.contains("a batch of 2 rows fails"), "{}", checked.table);
    let running = Running::start(repository).await;
    let report = running.get("/v2/load").await.json();
    for model in report["models"].as_array().unwrap() {
        assert_eq!((&model["state"], &model["max_batch_size"]), (&"serving".into(), &1.into()));
    }
    let two = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    let reply = running.post("/v2/models/baked/infer", two).await;
    let rows = &reply.json()["outputs"][0];
    assert_eq!(
        (&rows["shape"], &rows["data"]),
        (&serde_json::json!([2, 2]), &serde_json::json!([1.0, 2.0, 3.0, 4.0]))
    );
}

#[tokio::test]
async fn outputs_that_differ_from_model_toml_are_found_before_the_first_request() {
    let repository = Repository::new()
        .with("wide", &toml(&["x"], &["y"], ""), &[1])
        .with("double", &toml(&["x"], &["y"], ""), &[1])
        .with("two", &toml(&["x"], &["y", "z"], ""), &[1])
        .with("unsigned", &toml(&["x"], &["y"], "").replace("FP32", "UINT16"), &[1]);
    for (version, body) in [
        ("wide/1", "return torch.cat([x, x], 1)"),
        ("double/1", "return torch.to(x, 7)"),
        ("two/1", "return torch.mul(x, 2)"),
        ("unsigned/1", "return torch.mul(x, 2)"),
    ] {
        save(&repository, version, "x: Tensor", "Tensor", body);
    }
    let checked = crate::check::run(repository.path(), &host(), 1).unwrap();
    let lines: Vec<_> = checked.table.lines().collect();
    for (line, words) in [
        (1, "output 'y' is FP64 [1, 2] for 1 rows where model.toml says FP32 [-1, 2]"),
        (2, "the model gave 1 outputs where model.toml names 2"),
        (3, "has datatype UINT16, which libtorch lacks"),
        (4, "output 'y' is FP32 [1, 4]"),
    ] {
        assert!(lines[line].contains(words), "{}", checked.table);
    }
    assert!(!checked.good);
}

#[tokio::test]
async fn requests_of_different_free_sizes_do_not_disturb_each_other() {
    let text = toml(&["x"], &["y"], "").replace("[-1, 2]", "[-1, -1]");
    let repository = Repository::new().with("any", &text, &[1]);
    save(&repository, "any/1", "x: Tensor", "Tensor", "return torch.add(x, 1)");
    let running = Running::start(repository).await;
    let mut replies = Vec::new();
    for width in [1_usize, 5, 1, 3, 5] {
        let data = vec!["1"; width].join(",");
        let body =
            format!(r#"{{"inputs":[{{"name":"x","shape":[1,{width}],"datatype":"FP32","data":[{data}]}}]}}"#);
        let mut connection = running.connect().await;
        let reply = running.spawn(async move { connection.post("/v2/models/any/infer", body).await });
        replies.push((width, reply));
    }
    for (width, reply) in replies {
        let output = &reply.await.unwrap().json()["outputs"][0];
        assert_eq!(output["shape"], serde_json::json!([1, width]));
        assert_eq!(output["data"], serde_json::json!(vec![2.0; width]));
    }
}

/// Numbers that look random and are the same each time (Lehmer).
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(48_271) % 0x7fff_ffff;
        usize::try_from(seed).unwrap() % below
    }
}

#[tokio::test]
async fn no_damaged_request_brings_the_worker_or_its_neighbours_down() {
    let running = arithmetic().await;
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![wire("a", &[1.0, 2.0]), wire("b", &[3.0, 5.0])],
        outputs: vec![],
        binary_output: true,
    };
    let mut connection = running.connect().await;
    let mut seen = std::collections::BTreeMap::new();
    for (seed, binary) in [(1, false), (2, true)] {
        let encoded = encode_request(&request, binary).unwrap();
        let mut number = numbers(seed);
        for _ in 0..400 {
            let mut body = encoded.body.to_vec();
            for _ in 0..=number(3) {
                let at = number(body.len());
                match number(3) {
                    0 => body[at] = u8::try_from(number(256)).unwrap(),
                    1 => drop(body.remove(at)),
                    _ => body.insert(at, b"0123456789[]{},:\"e-"[number(19)]),
                }
            }
            let mut post = Request::post("/v2/models/sums/infer").header("host", "test");
            if let Some(length) = encoded.json_len {
                post = post.header("inference-header-content-length", length + number(2));
            }
            let reply = connection.send(post.body(http_body_util::Full::new(body.into())).unwrap()).await;
            *seen.entry(reply.status).or_insert(0) += 1;
        }
    }
    assert!(seen.keys().all(|status| [200, 400].contains(status)), "{seen:?}");
    assert!(seen[&200] > 0 && seen[&400] > 0, "{seen:?}");
    let reply = infer(&running, "/v2/models/sums/infer", &request, true).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn several_lanes_give_every_request_its_own_answer() {
    let text = toml(&["x"], &["y"], "lanes = 3");
    let repository = Repository::new().with("m", &text, &[1]);
    save(&repository, "m/1", "x: Tensor", "Tensor", "return torch.mul(x, 2)");
    let running = Running::start(repository).await;
    let mut replies = Vec::new();
    for client in 0..8 {
        let mut connection = running.connect().await;
        replies.push(running.spawn(async move {
            for round in 0..20 {
                let value = client * 100 + round;
                let body = format!(
                    r#"{{"inputs":[{{"name":"x","shape":[1,2],"datatype":"FP32","data":[{value},-{value}]}}]}}"#
                );
                let reply = connection.post("/v2/models/m/infer", body).await;
                let (expected, value) = (&reply.json()["outputs"][0]["data"], f64::from(value));
                assert_eq!(expected, &serde_json::json!([2.0 * value, -2.0 * value]));
            }
        }));
    }
    for reply in replies {
        reply.await.unwrap();
    }
}

fn host() -> crate::backend::Host {
    let cpu = crate::device::Cpu::new(weir_protocol::Bytes::mib(1 << 20));
    crate::backend::Host { cpu, intra_op_threads: 1 }
}
