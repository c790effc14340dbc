//! Inference requests for tests, as the JSON and the messages that a client would write.

use serde_json::{Value, json};
use weir_protocol::grpc::{ModelInferRequest, model_infer_request::InferInputTensor};

/// Rows of zeros for [`crate::Synthetic`]'s one input.
#[must_use]
pub fn rows(count: usize, width: usize) -> Value {
    let data = vec![0.0; count * width];
    json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [count, width], "data": data }] })
}

/// `POST` path of a model.
#[must_use]
pub fn path(model: &str) -> String {
    format!("/v2/models/{model}/infer")
}

/// The same rows as a gRPC message, each value `value`.
#[must_use]
pub fn message(model: &str, count: usize, width: usize, value: f32) -> ModelInferRequest {
    let raw = std::iter::repeat_n(value.to_le_bytes(), count * width).flatten().collect();
    of(model, "FP32", &[count, width], raw)
}

/// Bytes without any pattern, the same each time, so that a lost or doubled part shows and compression gains nothing.
#[must_use]
pub fn noise(count: usize) -> Vec<u8> {
    // xorshift64 (Marsaglia 2003).
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// One row of bytes for [`crate::Repository::add_echo`]'s input.
#[must_use]
pub fn bytes(model: &str, data: Vec<u8>) -> ModelInferRequest {
    of(model, "UINT8", &[1, data.len()], data)
}

fn of(model: &str, datatype: &str, shape: &[usize], raw: Vec<u8>) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.iter().map(|&dimension| dimension as i64).collect(),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
        ..ModelInferRequest::default()
    }
}
