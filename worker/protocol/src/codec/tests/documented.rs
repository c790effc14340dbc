//! Every error that the codec's documentation lists has a case here, and every case is listed there.

use super::*;
use crate::{
    InferResponse,
    codec::{RawInput, decode_raw, encode_response},
    infer::OutputTensor,
};

/// Function, reason and words of each error in the documentation of the codec's functions.
fn documented() -> Vec<(&'static str, &'static str, &'static str)> {
    let (mut errors, mut pending) = (Vec::new(), Vec::new());
    for line in include_str!("../../codec.rs").lines() {
        if let Some(item) = line.strip_prefix("/// - `") {
            pending.push(item.split_once("`: ").unwrap());
        } else if let Some(signature) = line.strip_prefix("pub fn ") {
            let (function, _) = signature.split_once('(').unwrap();
            errors.extend(pending.drain(..).map(|(reason, words)| (function, reason, words)));
        }
    }
    errors
}

/// An input `x` with these keys beside its name.
fn input(keys: &str) -> Result<(), OipError> {
    json(&format!(r#"{{"inputs":[{{"name":"x",{keys}}}]}}"#)).map(drop)
}

fn element(datatype: &str, data: &str) -> Result<(), OipError> {
    one_input(datatype, "[2]", data).map(drop)
}

fn body(text: &str, json_len: Option<usize>, limits: &CodecLimits) -> Result<(), OipError> {
    decode_request(&Bytes::copy_from_slice(text.as_bytes()), json_len, limits).map(drop)
}

fn raw_body(body: &'static [u8], datatype: Datatype, shape: &[i64]) -> Result<(), OipError> {
    let input = RawInput { name: "x", datatype, shape, batched: true };
    decode_raw(&Bytes::from_static(body), &input).map(drop)
}

fn response(datatype: Datatype, data: &[u8]) -> Result<(), OipError> {
    let outputs = vec![OutputTensor { tensor: tensor("y", datatype, &[1], data), binary: false }];
    let (model_name, model_version) = ("m".into(), "1".into());
    encode_response(&InferResponse {
        model_name,
        model_version,
        id: None,
        parameters: Default::default(),
        outputs,
    })
    .map(drop)
}

type Cases = Vec<(&'static str, Vec<Result<(), OipError>>)>;

fn texts() -> Cases {
    let usual = CodecLimits::default();
    let few = CodecLimits { tensors: 1, json_depth: 3, ..usual };
    vec![
        ("the JSON is not well formed", vec![body("{\"inputs\":[],}", None, &usual), body("", None, &usual)]),
        ("the JSON nests deeper than the limit", vec![body(r#"{"inputs":[],"a":[[[]]]}"#, None, &few)]),
        (
            "a string is not UTF-8",
            vec![
                decode_request(&Bytes::from_static(b"{\"id\":\"\xff\",\"inputs\":[]}"), None, &usual)
                    .map(drop),
            ],
        ),
        (
            "a key that is needed is missing",
            vec![body("{}", None, &usual), input(r#""shape":[1],"data":[1]"#)],
        ),
        ("a known key appears twice", vec![body(r#"{"inputs":[],"inputs":[]}"#, None, &usual)]),
        ("the value of a known key has another type", vec![body(r#"{"inputs":{}}"#, None, &usual)]),
        (
            "a parameter is neither string, number nor bool",
            vec![body(r#"{"inputs":[],"parameters":{"p":[]}}"#, None, &usual)],
        ),
        (
            "there are more inputs or outputs than the limit",
            vec![
                body(r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"b"}]}"#, None, &few),
                body(
                    r#"{"inputs":[{"name":"a","datatype":"BOOL","shape":[0],"data":[]},{}]}"#,
                    None,
                    &CodecLimits { tensors: 1, ..usual },
                ),
            ],
        ),
    ]
}

fn tensors() -> Cases {
    let (usual, u8_of_1) = (CodecLimits::default(), r#""datatype":"UINT8","shape":[1]"#);
    let tail = |size: u32| format!(r#"{u8_of_1},"parameters":{{"binary_data_size":{size}}}"#);
    let with_tail =
        |size, raw: &[u8]| binary(&format!(r#"{{"inputs":[{{"name":"x",{}}}]}}"#, tail(size)), raw);
    vec![
        ("a datatype is unknown", vec![element("FP8", "[1,2]")]),
        (
            "a dimension is no integer from 0, or there are more than 64",
            vec![
                input(r#""datatype":"UINT8","shape":[-1],"data":[1]"#),
                one_input("UINT8", &format!("[{}1]", "1,".repeat(64)), "[1]").map(drop),
            ],
        ),
        (
            "a tensor is larger than the limit",
            vec![
                one_input("FP64", "[1000000000]", "[1]").map(drop),
                body(
                    r#"{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["12345"]}]}"#,
                    None,
                    &CodecLimits { tensor_bytes: 8, ..usual },
                ),
            ],
        ),
        (
            "an element is not of its datatype or out of its range",
            vec![element("INT8", "[1,128]"), element("FP32", "[1,1e39]"), element("BYTES", "[\"\",1]")],
        ),
        (
            "elements or bytes are more or fewer than the shape says",
            vec![element("INT8", "[1]"), element("INT8", "[1,2,3]"), with_tail(2, &[1, 2]).map(drop)],
        ),
        (
            "an input has both data and `binary_data_size`, or neither",
            vec![input(u8_of_1), input(&format!("\"data\":[1],{}", tail(1)))],
        ),
        ("`json_len` is larger than the body", vec![body("{\"inputs\":[]}", Some(14), &usual)]),
        ("`binary_data_size` is there and `json_len` is not", vec![input(&tail(1))]),
        (
            "the sizes of the binary inputs do not sum to what follows the JSON",
            vec![with_tail(1, &[]).map(drop), with_tail(1, &[1, 2]).map(drop)],
        ),
        ("`json_len` is 0, see [`decode_raw`]", vec![body("{\"inputs\":[]}", Some(0), &usual)]),
    ]
}

fn raw_requests() -> Cases {
    vec![
        (
            "the body does not fill the declared shape",
            vec![raw_body(b"123", Datatype::Fp32, &[-1, -1]), raw_body(b"12", Datatype::Uint8, &[-1, 3])],
        ),
        ("a BOOL is neither 0 nor 1", vec![raw_body(b"\x02", Datatype::Bool, &[-1, 1])]),
        ("two dimensions are open", vec![raw_body(b"1", Datatype::Uint8, &[-1, -1, -1])]),
        ("a BYTES input needs more than one element", vec![raw_body(b"1", Datatype::Bytes, &[-1, 2])]),
    ]
}

fn responses() -> Cases {
    vec![
        (
            "BYTES that are not UTF-8 are asked for as JSON",
            vec![response(Datatype::Bytes, b"\x01\0\0\0\xff")],
        ),
        ("an output's data does not fit its shape", vec![response(Datatype::Fp32, &[0; 3])]),
    ]
}

#[test]
fn every_documented_error_has_a_case_and_every_case_is_documented() {
    let functions = [
        ("decode_request", texts()),
        ("decode_request", tensors()),
        ("decode_raw", raw_requests()),
        ("encode_response", responses()),
    ];
    let mut cases = Vec::new();
    for (function, list) in functions {
        for (words, results) in list {
            for result in results {
                let error = result.expect_err(words);
                cases.push((function, error.reason.name(), words));
            }
        }
    }
    cases.dedup();
    assert_eq!(documented(), cases);
}
