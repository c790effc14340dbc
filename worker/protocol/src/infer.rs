//! An inference request and response, independent of how they travelled.
//!
//! A tensor's data is one contiguous buffer in the raw form of the binary tensor extension (little-endian,
//! row-major; BOOL one byte 0 or 1; BYTES each element a u32 length then its bytes), whichever way it came in, so
//! that everything behind the codec sees one representation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Datatype;

/// One named tensor with its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name, as the model's configuration spells it.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions, outermost first. Their product times the element size equals `data.len()` (not for BYTES).
    pub shape: Vec<u64>,
    /// Raw elements: little-endian, row-major.
    pub data: bytes::Bytes,
}

/// A request or response parameter: string, number or bool (OIP v2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant is the JSON type it holds")]
pub enum Parameter {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
}

/// Parameters by name, in a stable order.
pub type Parameters = BTreeMap<String, Parameter>;

/// An output that the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Name of the output.
    pub name: String,
    /// `binary_data` of this output; `None` leaves it to the request's `binary_data_output`.
    pub binary: Option<bool>,
}

/// A decoded inference request. Names, shapes and datatypes are as the client sent them: what the model expects
/// is checked by the worker against model.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The client's id, echoed in the response.
    pub id: Option<String>,
    /// Request-level parameters, binary ones (`binary_data_output`) taken out.
    pub parameters: Parameters,
    /// Inputs in the order sent. Names may repeat or be unknown.
    pub inputs: Vec<Tensor>,
    /// Outputs asked for; empty means all.
    pub outputs: Vec<RequestedOutput>,
    /// `binary_data_output` of the request; default false.
    pub binary_output: bool,
}

impl InferRequest {
    /// Whether the named output is to be answered in binary form: the output's own wish, else the request's.
    #[must_use]
    pub fn wants_binary(&self, output: &str) -> bool {
        let own = self.outputs.iter().find(|o| o.name == output).and_then(|o| o.binary);
        own.unwrap_or(self.binary_output)
    }
}

/// An inference response before encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct InferResponse {
    /// The model that answered.
    pub model_name: String,
    /// The version that answered, in decimal.
    pub model_version: String,
    /// The request's id.
    pub id: Option<String>,
    /// Outputs, each with whether it travels in binary form.
    pub outputs: Vec<OutputTensor>,
}

/// One output and the form in which the client wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputTensor {
    /// The data.
    pub tensor: Tensor,
    /// Binary tensor extension (true) or JSON (false).
    pub binary: bool,
}
