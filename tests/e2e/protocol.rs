//! What OIP has beside plain inference, over REST: compression, raw bodies, versions and labels in every path,
//! parameters, control.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use weir_tests::{Client, Fleet, Reply, Synthetic, WorkerSpec, infer};

use crate::smoke::image;

const LABELS: &str = "[[model]]\nname = \"m\"\nversion_labels = { stable = 1 }\n";

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.repository.add("m", &Synthetic { versions: 2, ..Synthetic::default() }).unwrap();
    builder.repository.label("m", "stable = 1").unwrap();
    builder.gateway.rules = LABELS.to_owned();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

fn both(fleet: &mut Fleet) -> [(&'static str, Client); 2] {
    [("worker", fleet.worker("a").unwrap().client()), ("gateway", fleet.client())]
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The body of a reply, whatever its encoding.
fn inflated(reply: &Reply) -> Bytes {
    let mut plain = Vec::new();
    match reply.header("content-encoding") {
        "gzip" => GzDecoder::new(&reply.body[..]).read_to_end(&mut plain).map(|_| ()).unwrap(),
        "deflate" => ZlibDecoder::new(&reply.body[..]).read_to_end(&mut plain).map(|_| ()).unwrap(),
        "" => plain.extend_from_slice(&reply.body),
        other => panic!("encoding {other}"),
    }
    plain.into()
}

async fn post(client: Client, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
}

/// An image as a binary tensor: JSON of the answered length, then raw data.
fn binary_image() -> (usize, Vec<u8>) {
    let input = json!({
        "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": { "binary_data_size": 256 },
    });
    let mut body = json!({ "inputs": [input] }).to_string().into_bytes();
    let json_len = body.len();
    body.extend(std::iter::repeat_n(0.5_f32.to_le_bytes(), 64).flatten());
    (json_len, body)
}

#[tokio::test]
async fn compressed_requests_are_taken_and_answers_compressed_on_a_wish() {
    let mut fleet = fleet().await;
    let path = "/v2/models/digits/infer";
    let text = image().to_string().into_bytes();
    let (json_len, binary) = binary_image();
    let json_len = json_len.to_string();
    for (place, client) in both(&mut fleet) {
        let expected = client.post_json(path, &image()).await.unwrap().json().unwrap();
        for (encoding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", deflate)] {
            let json = post(client, path, &[("content-encoding", encoding)], compress(&text)).await;
            assert_eq!(json.status, 200, "{place} {encoding}: {json}");
            assert_eq!(json.json().unwrap(), expected, "{place} {encoding}");
            // The length is that of the JSON before compression.
            let headers = [("content-encoding", encoding), ("inference-header-content-length", &json_len)];
            let json = post(client, path, &headers, compress(&binary)).await;
            assert_eq!(json.json().unwrap(), expected, "{place} {encoding}, binary");

            let wish = [("accept-encoding", encoding)];
            let reply = post(client, path, &wish, text.clone()).await;
            assert_eq!(reply.header("content-encoding"), encoding, "{place}: {:?}", reply.headers);
            let plain: Value = serde_json::from_slice(&inflated(&reply)).unwrap();
            assert_eq!(plain, expected, "{place} {encoding}, answer");
        }
        // HTTP libraries send such lists by themselves, and some clients of OIP then read no compressed answer.
        for list in ["gzip, deflate, br", "gzip, deflate", "*", "br", "identity"] {
            let reply = post(client, path, &[("accept-encoding", list)], text.clone()).await;
            assert_eq!(reply.header("content-encoding"), "", "{place} {list}");
            assert_eq!(reply.json().unwrap(), expected, "{place} {list}");
        }
        let metadata = Request::get("/v2").header("accept-encoding", "gzip").body(Full::default()).unwrap();
        let metadata = client.send(metadata).await.unwrap();
        assert_eq!(metadata.header("content-encoding"), "", "{place}: only inferences are compressed");
    }
}

#[tokio::test]
async fn a_body_that_is_compressed_otherwise_or_grows_too_large_is_refused() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = "[limits]\nbody_bytes = \"8 MiB\"".to_owned();
    builder.worker(worker);
    let mut fleet = builder.start().await.unwrap();
    let path = "/v2/models/digits/infer";
    let text = image().to_string().into_bytes();
    let mut half = gzip(&text);
    half.truncate(half.len() / 2);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "the bomb itself is within the limit");
    for (place, client) in both(&mut fleet) {
        for (what, encoding, body, status, reason) in [
            ("an encoding that there is not", "br", text.clone(), 415, "unsupported-encoding"),
            ("twice", "gzip, gzip", gzip(&gzip(&text)), 415, "unsupported-encoding"),
            ("not what it says", "gzip", text.clone(), 400, "bad-request"),
            ("another than it says", "deflate", gzip(&text), 400, "bad-request"),
            ("cut in the middle", "gzip", half.clone(), 400, "bad-request"),
            ("a bomb", "gzip", bomb.clone(), 413, "body-too-large"),
        ] {
            let reply = post(client, path, &[("content-encoding", encoding)], body).await;
            assert_eq!(
                (reply.status, reply.header("weir-reason")),
                (status, reason),
                "{place}, {what}: {reply}"
            );
            reply.error().unwrap();
            if status == 415 {
                assert_eq!(reply.header("accept-encoding"), "gzip, deflate", "{place}, {what}");
            }
        }
        let good = post(client, path, &[("content-encoding", "identity")], text.clone()).await;
        assert_eq!(good.status, 200, "{place}: {good}");
    }
    let growth = fleet.worker("a").unwrap().process().memory().unwrap().peak;
    println!("worker's peak {growth} B");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_raw_body_is_the_only_input_of_its_model() {
    let mut fleet = fleet().await;
    for (place, client) in both(&mut fleet) {
        let path = "/v2/models/digits/infer";
        let scores = client.post_json(path, &image()).await.unwrap().json().unwrap();
        let expected = &scores["outputs"][0];
        let raw: Vec<u8> = std::iter::repeat_n(0.5_f32.to_le_bytes(), 64).flatten().collect();
        let header = [("inference-header-content-length", "0")];
        let reply = post(client, path, &header, raw.clone()).await;
        assert_eq!(reply.status, 200, "{place}: {reply}");
        let json_len: usize = reply.header("inference-header-content-length").parse().unwrap();
        let json: Value = serde_json::from_slice(&reply.body[..json_len]).unwrap();
        assert_eq!(json["outputs"][0]["name"], expected["name"], "{place}");
        assert_eq!(json["outputs"][0]["shape"], expected["shape"], "{place}: batch of one");
        let values: Vec<f64> = reply.body[json_len..]
            .chunks_exact(4)
            .map(|chunk| f64::from(f32::from_le_bytes(chunk.try_into().unwrap())))
            .collect();
        let wanted: Vec<f64> = expected["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| f64::from(it.as_f64().unwrap() as f32))
            .collect();
        assert_eq!(values[..wanted.len()], wanted, "{place}");

        let packed = [("inference-header-content-length", "0"), ("content-encoding", "gzip")];
        assert_eq!(post(client, path, &packed, gzip(&raw)).await.body, reply.body, "{place}, compressed");
        let short = post(client, path, &header, raw[..255].to_vec()).await;
        assert_eq!((short.status, short.header("weir-reason")), (400, "bad-request"), "{place}: {short}");
        assert!(short.error().unwrap().contains("256"), "{place}: {short}");
    }
}

#[tokio::test]
async fn a_version_or_label_stands_in_every_path() {
    let mut fleet = fleet().await;
    for (place, client) in both(&mut fleet) {
        for (version, number) in [("1", "1"), ("2", "2"), ("stable", "1")] {
            let at = format!("/v2/models/m/versions/{version}");
            let reply = client.post_json(&format!("{at}/infer"), &infer::rows(1, 4)).await.unwrap();
            assert_eq!(reply.header("weir-served"), format!("m;{number};a"), "{place} {version}: {reply}");
            assert_eq!(reply.json().unwrap()["model_version"], number, "{place} {version}");
            let metadata = client.get(&at).await.unwrap().json().unwrap();
            assert_eq!(metadata["versions"], json!([number]), "{place} {version}: {metadata}");
            let ready = client.get(&format!("{at}/ready")).await.unwrap();
            assert_eq!(ready.json().unwrap(), json!({ "name": "m", "ready": true }), "{place} {version}");
            let config = client.get(&format!("{at}/config")).await.unwrap().json().unwrap();
            assert_eq!(config["name"], "m", "{place} {version}: {config}");
            let statistics = client.get(&format!("{at}/stats")).await.unwrap().json().unwrap();
            let one = statistics["model_stats"].as_array().unwrap();
            assert_eq!(one.len(), 1, "{place} {version}: {statistics}");
            assert_eq!(one[0]["version"], number, "{place} {version}");
        }
        for path in ["", "/ready", "/config", "/stats"] {
            let reply = client.get(&format!("/v2/models/m/versions/beta{path}")).await.unwrap();
            assert_eq!(
                (reply.status, reply.header("weir-reason")),
                (404, "version-not-found"),
                "{place}: {reply}"
            );
            let message = reply.error().unwrap();
            assert!(message.contains("beta") && message.contains("stable"), "{place} {path}: {message}");
        }
        let metadata = client.get("/v2/models/m").await.unwrap().json().unwrap();
        assert_eq!(metadata["versions"], json!(["1", "2"]), "{place}");
    }
}

#[tokio::test]
async fn parameters_are_taken_in_every_numeric_form_and_sequences_refused() {
    let slow = Synthetic { base: std::time::Duration::from_millis(700), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&slow, &["a"]).await.unwrap();
    let with = |name: &str, value: Value| {
        let mut body = infer::rows(1, 4);
        body["id"] = json!("the id");
        body["parameters"] = json!({ name: value });
        body
    };
    for (place, client) in both(&mut fleet) {
        let ask = async |body: &Value| client.post_json(&infer::path("m"), body).await.unwrap();
        for value in [json!(100_000), json!(1e5), json!("100000")] {
            let reply = ask(&with("timeout", value.clone())).await;
            // The first is tried and found late; while its pass goes on, the others are known to have no chance.
            let told = (reply.status, reply.header("weir-reason"));
            assert!(matches!(told, (504, "deadline") | (503, "shed")), "{place} {value}: {reply}");
        }
        for (name, value) in [
            ("timeout", json!(20_000_000)),
            ("priority", json!(1)),
            ("priority", json!("2")),
            ("priority", json!(4_294_967_295_u32)),
            ("triton_anything", json!(true)),
            ("unknown", json!("ignored")),
            ("sequence_id", json!(0)),
        ] {
            let reply = ask(&with(name, value.clone())).await;
            assert_eq!(reply.status, 200, "{place} {name} {value}: {reply}");
            assert_eq!(reply.json().unwrap()["id"], "the id", "{place} {name}");
        }
        for (name, value) in [
            ("timeout", json!("soon")),
            ("timeout", json!(-1)),
            ("priority", json!(0.5)),
            ("priority", json!(-1)),
            ("sequence_id", json!(7)),
            ("sequence_start", json!(true)),
        ] {
            let reply = ask(&with(name, value.clone())).await;
            assert_eq!(
                (reply.status, reply.header("weir-reason")),
                (400, "bad-request"),
                "{place} {name} {value}: {reply}"
            );
            let word = name.split('_').next().unwrap();
            assert!(reply.error().unwrap().contains(word), "{place} {name} {value}: {reply}");
        }
    }
}

#[tokio::test]
async fn numbers_that_json_has_not_come_and_go_as_bare_words() {
    let mut fleet = fleet().await;
    for (place, client) in both(&mut fleet) {
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[NaN,Infinity,-Infinity,1e-45]}]}"#;
        let reply = client.post("/v2/models/m/infer", body).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(reply.status == 200 && text.contains("[NaN,Infinity,-Infinity,1e-45]"), "{place}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let mut fleet = fleet().await;
    for (place, client) in both(&mut fleet) {
        for path in ["/v2/models/m/generate", "/v2/models/m/generate_stream", "/v1/chat/completions"] {
            let reply = client.post_json(path, &json!({ "model": "m", "text_input": "x" })).await.unwrap();
            assert_eq!(
                (reply.status, reply.header("weir-reason")),
                (501, "unsupported"),
                "{place} {path}: {reply}"
            );
            reply.error().unwrap();
        }
        for path in ["/v2/logging", "/v2/trace/setting", "/v2/systemsharedmemory/status"] {
            let reply = client.get(path).await.unwrap();
            assert_eq!(
                (reply.status, reply.header("weir-reason")),
                (404, "path-not-found"),
                "{place} {path}: {reply}"
            );
            reply.error().unwrap();
        }
    }
}
