//! Every datatype end to end: JSON, binary and raw bodies in, through a batch of several requests, and out again.

use http::Request;
use weir_protocol::{
    Datatype, InferRequest, Tensor as Wire,
    codec::{CodecLimits, decode_response, encode_request},
    infer,
};

use super::fixture::{Reply, Repository, Running};

/// A model of one input and one output of a datatype and shape, with a batch dimension.
fn toml(head: &str, datatype: &str, shape: &str) -> String {
    let tensor =
        |kind, name| format!("[[{kind}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = {shape}\n");
    format!("max_batch_size = 4\n{head}\n{}{}", tensor("input", "x"), tensor("output", "y"))
}

/// As [`toml`], run by the synthetic backend.
fn synthetic(datatype: &str, shape: &str) -> String {
    let text = toml("backend = \"synthetic\"", datatype, shape);
    format!("{text}[synthetic]\nbase = \"0s\"\nper_item = \"0s\"\n")
}

fn raw(texts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::new();
    texts.iter().for_each(|text| infer::push_string(&mut data, text).unwrap());
    data
}

/// Sends a raw-binary request.
async fn post_raw(running: &Running, model: &str, body: impl Into<bytes::Bytes>) -> Reply {
    let path = format!("/v2/models/{model}/infer");
    running.send(Request::post(path).header("inference-header-content-length", "0"), body).await
}

/// The outputs of a reply, whichever form it has.
fn outputs(reply: &Reply) -> Vec<Wire> {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let length = reply.header("inference-header-content-length").parse().ok();
    let response = decode_response(&reply.body, length, &CodecLimits::default()).unwrap();
    response.outputs.into_iter().map(|output| output.tensor).collect()
}

/// Sends one tensor in each combination of forms and returns what came back each time.
async fn through(running: &Running, model: &str, tensor: &Wire) -> Vec<Wire> {
    let mut given = Vec::new();
    for (binary_input, binary_output) in [(false, false), (false, true), (true, false), (true, true)] {
        let request = InferRequest {
            id: None,
            parameters: Default::default(),
            inputs: vec![tensor.clone()],
            outputs: vec![],
            binary_output,
        };
        let encoded = encode_request(&request, binary_input).unwrap();
        let mut post = Request::post(format!("/v2/models/{model}/infer"));
        if let Some(length) = encoded.json_len {
            post = post.header("inference-header-content-length", length);
        }
        given.append(&mut outputs(&running.send(post, encoded.body).await));
    }
    given
}

fn wire(datatype: Datatype, shape: &[u64], data: Vec<u8>) -> Wire {
    Wire { name: "x".to_owned(), datatype, shape: shape.to_vec(), data: data.into() }
}

#[tokio::test]
async fn every_datatype_survives_json_and_binary_both_ways() {
    let mut repository = Repository::new();
    for datatype in Datatype::ALL {
        let name = datatype.name();
        repository = repository.with(&name.to_lowercase(), &synthetic(name, "[-1, 3]"), &[1]);
    }
    let running = Running::start(repository).await;
    for datatype in Datatype::ALL {
        let data = match datatype.size() {
            None => raw(&[b"one", "zw\u{f6}lf \"\\\n".as_bytes(), b"", b"a\0b", b"x", b"y"]),
            // 0 and 1 are bits of a number in every type, and the only ones that BOOL may have.
            Some(size) => (0..6 * size).map(|at| u8::from(at % 5 == 1 || at % 3 == 0)).collect(),
        };
        let tensor = wire(datatype, &[2, 3], data);
        for given in through(&running, &datatype.name().to_lowercase(), &tensor).await {
            assert_eq!(given, Wire { name: "y".to_owned(), ..tensor.clone() });
        }
    }
}

#[tokio::test]
async fn each_request_of_a_batch_gets_its_own_strings() {
    let text =
        synthetic("BYTES", "[-1, 2]").replace("[synthetic]\nbase = \"0s\"", "[synthetic]\nbase = \"20ms\"");
    let running = Running::start(Repository::new().with("echo", &text, &[1])).await;
    let mut replies = Vec::new();
    for client in 0..12_usize {
        let words = [format!("{client}"), "w".repeat(client), "c".repeat(client % 3), String::new()];
        let rows = 1 + client % 2;
        let words = words[..2 * rows].to_vec();
        let json = serde_json::json!({ "inputs": [
            { "name": "x", "shape": [rows, 2], "datatype": "BYTES", "data": words }
        ]});
        let mut connection = running.connect().await;
        let reply =
            running.spawn(async move { connection.post("/v2/models/echo/infer", json.to_string()).await });
        replies.push((words, reply));
    }
    for (words, reply) in replies {
        assert_eq!(reply.await.unwrap().json()["outputs"][0]["data"], serde_json::json!(words));
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_travel_in_binary_form_only() {
    let running = Running::start(Repository::new().with("echo", &synthetic("BYTES", "[-1]"), &[1])).await;
    let reply = post_raw(&running, "echo", &b"\xff\0\xfe"[..]).await;
    assert_eq!(
        outputs(&reply),
        [Wire { name: "y".to_owned(), ..wire(Datatype::Bytes, &[1], raw(&[b"\xff\0\xfe"])) }]
    );
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![wire(Datatype::Bytes, &[1], raw(&[b"\xff"]))],
        outputs: vec![],
        binary_output: false,
    };
    let encoded = encode_request(&request, true).unwrap();
    let post = Request::post("/v2/models/echo/infer")
        .header("inference-header-content-length", encoded.json_len.unwrap());
    let reply = running.send(post, encoded.body).await;
    assert!(reply.status == 501 || reply.status == 400, "{reply:?}");
    assert!(reply.error().contains("binary"), "{reply:?}");
}

#[tokio::test]
async fn a_raw_body_is_the_data_of_the_only_input() {
    let two = format!(
        "{}[[input]]\nname = \"z\"\ndatatype = \"FP32\"\nshape = [-1]\n",
        synthetic("FP32", "[-1, 2]")
    );
    let repository = Repository::new()
        .with("pixels", &synthetic("UINT8", "[-1, 2, -1]"), &[1])
        .with("rows", &synthetic("FP32", "[-1, 2]"), &[1])
        .with("two", &two, &[1]);
    let running = Running::start(repository).await;
    let reply = post_raw(&running, "pixels", &[1_u8, 2, 3, 4, 5, 6][..]).await;
    let expected = wire(Datatype::Uint8, &[1, 2, 3], vec![1, 2, 3, 4, 5, 6]);
    assert_eq!(outputs(&reply), [Wire { name: "y".to_owned(), ..expected }]);
    assert!(!reply.header("inference-header-content-length").is_empty(), "the answer is binary");
    for (model, body, words) in [
        ("pixels", &b"12345"[..], "multiple of 2"),
        ("rows", b"1234", "8 bytes"),
        ("two", b"12345678", "this one has 2"),
    ] {
        let reply = post_raw(&running, model, body).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{model}: {reply:?}");
        assert!(reply.error().contains(words), "{model}: {}", reply.error());
    }
}

#[cfg(feature = "torch")]
mod through_libtorch {
    use super::{super::archive::torchscript, *};

    fn save(repository: &Repository, model: &str, arguments: &str, returns: &str, body: &str) {
        let file = repository.path().join(model).join("1/model.pt");
        std::fs::write(file, torchscript(arguments, returns, body)).unwrap();
    }

    #[tokio::test]
    async fn every_datatype_that_it_has_comes_back_as_it_went_in() {
        let known = || {
            Datatype::ALL.into_iter().filter(|datatype| {
                !matches!(datatype, Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64 | Datatype::Bytes)
            })
        };
        let mut repository = Repository::new();
        for datatype in known() {
            let name = datatype.name();
            repository = repository.with(&name.to_lowercase(), &toml("", name, "[-1, 3]"), &[1]);
            save(&repository, &name.to_lowercase(), "x: Tensor", "Tensor", "return torch.clone(x)");
        }
        let running = Running::start(repository).await;
        for datatype in known() {
            let size = datatype.size().unwrap();
            // Bits of finite numbers that differ from element to element.
            let bits = |at: usize| if datatype == Datatype::Bool { at % 2 } else { (at * 37) % 120 };
            let data = (0..6 * size).map(|at| u8::try_from(bits(at)).unwrap()).collect();
            let tensor = wire(datatype, &[2, 3], data);
            for given in through(&running, &datatype.name().to_lowercase(), &tensor).await {
                assert_eq!(given, Wire { name: "y".to_owned(), ..tensor.clone() });
            }
        }
    }

    #[tokio::test]
    async fn a_datatype_that_it_lacks_fails_the_version_and_says_so() {
        let repository = Repository::new().with("m", &toml("", "UINT32", "[-1, 3]"), &[1]);
        save(&repository, "m", "x: Tensor", "Tensor", "return x");
        let running = Running::start(repository).await;
        let report = running.get("/v2/load").await.json();
        let reason = report["models"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("UINT32, which libtorch lacks"), "{reason}");
    }

    async fn brackets(shape: &str) -> Running {
        brackets_of(&toml("", "BYTES", shape)).await
    }

    /// A model that puts each text into brackets.
    async fn brackets_of(text: &str) -> Running {
        let repository = Repository::new().with("m", text, &[1]);
        let body = "out = annotate(List[str], [])\nfor _0 in range(len(x)):\n  \
                    _1 = torch.append(out, torch.add(torch.add(\"<\", x[_0]), \">\"))\nreturn out";
        save(&repository, "m", "x: List[str]", "List[str]", body);
        Running::start(repository).await
    }

    #[tokio::test]
    async fn texts_reach_torchscript_as_a_list_and_come_back() {
        for (shape, dims) in [("[-1]", &[2_u64][..]), ("[-1, 1]", &[2, 1])] {
            let running = brackets(shape).await;
            let tensor = wire(Datatype::Bytes, dims, raw(&["caf\u{e9}".as_bytes(), b""]));
            let data = raw(&["<caf\u{e9}>".as_bytes(), b"<>"]).into();
            for given in through(&running, "m", &tensor).await {
                assert_eq!(
                    given,
                    Wire { name: "y".to_owned(), data: bytes::Bytes::clone(&data), ..tensor.clone() }
                );
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_refused_with_the_element() {
        let running = brackets("[-1]").await;
        for element in [&b"\xff"[..], b"a\0b"] {
            let request = InferRequest {
                id: None,
                parameters: Default::default(),
                inputs: vec![wire(Datatype::Bytes, &[2], raw(&[b"good", element]))],
                outputs: vec![],
                binary_output: true,
            };
            let encoded = encode_request(&request, true).unwrap();
            let post = Request::post("/v2/models/m/infer")
                .header("inference-header-content-length", encoded.json_len.unwrap());
            let reply = running.send(post, encoded.body).await;
            assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"));
            assert!(reply.error().contains("'x', element 1: expected a text in UTF-8"), "{}", reply.error());
        }
        let reply = post_raw(&running, "m", "raw").await;
        assert_eq!(outputs(&reply)[0].data, raw(&[b"<raw>"]), "a text may come raw as well");
    }

    #[tokio::test]
    async fn texts_of_several_requests_run_as_one_list() {
        // Nothing runs for a minute unless the batch is full.
        let text = format!("{}[batching]\nmax_queue_delay = \"60s\"\n", toml("", "BYTES", "[-1]"));
        let running = brackets_of(&text).await;
        let mut replies = Vec::new();
        for words in [vec!["a"], vec!["", "bb"], vec!["ccc"]] {
            let json = serde_json::json!({ "inputs": [
                { "name": "x", "shape": [words.len()], "datatype": "BYTES", "data": words }
            ]});
            let mut connection = running.connect().await;
            let reply =
                running.spawn(async move { connection.post("/v2/models/m/infer", json.to_string()).await });
            replies.push((words, reply));
        }
        for (words, reply) in replies {
            let expected: Vec<_> = words.iter().map(|word| format!("<{word}>")).collect();
            assert_eq!(reply.await.unwrap().json()["outputs"][0]["data"], serde_json::json!(expected));
        }
    }
}
