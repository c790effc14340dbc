//! Inference requests for tests, as the JSON that a client would write.

use serde_json::{Value, json};

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
