//! Reads and writes OIP inference bodies: JSON, and JSON followed by raw tensors (binary tensor extension).
//!
//! Decoding checks everything that can be checked without knowing the model: framing, sizes, datatypes, that the
//! shape's product fits the data. Called by the worker's REST front and by test clients; knows no HTTP.

use bytes::Bytes;

use crate::{InferRequest, InferResponse, OipError};

/// Bounds on what decoding accepts.
#[derive(Debug, Clone, Copy)]
pub struct CodecLimits {
    /// Deepest nesting of JSON arrays and objects; default 32.
    pub json_depth: usize,
    /// Most inputs, and most requested outputs, of one request; default 256.
    pub tensors: usize,
    /// Most bytes that one decoded tensor may take; default 1 GiB.
    pub tensor_bytes: usize,
}

impl Default for CodecLimits {
    fn default() -> Self {
        Self { json_depth: 32, tensors: 256, tensor_bytes: 1 << 30 }
    }
}

/// An encoded body and the length of its JSON part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The whole body.
    pub body: Bytes,
    /// Length of the JSON part when any tensor follows in binary form: the value of
    /// `Inference-Header-Content-Length`. `None` = plain JSON.
    pub json_len: Option<usize>,
}

/// Decodes an infer request. `json_len` is the value of `Inference-Header-Content-Length`, absent for plain JSON.
///
/// # Errors
/// `bad-request` with a message that names what was expected.
pub fn decode_request(
    body: &Bytes,
    json_len: Option<usize>,
    limits: &CodecLimits,
) -> Result<InferRequest, OipError> {
    let _ = (body, json_len, limits);
    Err(OipError::bad_request("not built yet"))
}

/// Encodes an infer response; each output in the form that it asks for.
///
/// # Errors
/// `unsupported` when an output that has no JSON form (FP16, BF16) is asked for as JSON; `internal` when an
/// output's data does not fit its shape.
pub fn encode_response(response: &InferResponse) -> Result<Encoded, OipError> {
    let _ = response;
    Err(OipError::bad_request("not built yet"))
}

/// Encodes an infer request, for clients: each input in the given form.
///
/// # Errors
/// As [`encode_response`].
pub fn encode_request(request: &InferRequest, binary: bool) -> Result<Encoded, OipError> {
    let _ = (request, binary);
    Err(OipError::bad_request("not built yet"))
}

/// Decodes an infer response, for clients.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_response(
    body: &Bytes,
    json_len: Option<usize>,
    limits: &CodecLimits,
) -> Result<InferResponse, OipError> {
    let _ = (body, json_len, limits);
    Err(OipError::bad_request("not built yet"))
}
