//! Reads and writes OIP inference bodies: JSON, and JSON followed by raw tensors (binary tensor extension).
//!
//! Decoding checks everything that can be checked without knowing the model: framing, sizes, datatypes, that the
//! shape's product fits the data. Called by the worker's REST front and by test clients; knows no HTTP.

mod binary;
mod json_data;
mod number;
mod print;
mod raw;
mod request;
mod response;
mod tensor;
mod text;
mod words;

use bytes::Bytes;

pub use self::raw::RawInput;
use self::{
    binary::Tail,
    text::{Checked, Cursor},
};
use crate::{InferRequest, InferResponse, OipError, Reason};

/// Bounds on what decoding accepts.
#[derive(Debug, Clone, Copy)]
pub struct CodecLimits {
    /// Deepest nesting of JSON arrays and objects, at most 128; default 32.
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
/// Binary inputs share the memory of `body`. Every decoded tensor passes [`crate::Tensor::check`]. The JSON may hold
/// `NaN`, `Infinity` and `-Infinity` as numbers. Unknown keys and unknown tensor parameters are ignored, a known key
/// that appears twice is an error.
///
/// # Errors
/// The message names the input and what was expected.
/// - `bad-request`: the JSON is not well formed
/// - `bad-request`: the JSON nests deeper than the limit
/// - `bad-request`: a string is not UTF-8
/// - `bad-request`: a key that is needed is missing
/// - `bad-request`: a known key appears twice
/// - `bad-request`: the value of a known key has another type
/// - `bad-request`: a parameter is neither string, number nor bool
/// - `bad-request`: there are more inputs or outputs than the limit
/// - `bad-request`: a datatype is unknown
/// - `bad-request`: a dimension is no integer from 0, or there are more than 64
/// - `bad-request`: a tensor is larger than the limit
/// - `bad-request`: an element is not of its datatype or out of its range
/// - `bad-request`: elements or bytes are more or fewer than the shape says
/// - `bad-request`: an input has both data and `binary_data_size`, or neither
/// - `bad-request`: `json_len` is larger than the body
/// - `bad-request`: `binary_data_size` is there and `json_len` is not
/// - `bad-request`: the sizes of the binary inputs do not sum to what follows the JSON
/// - `unsupported`: `json_len` is 0, see [`decode_raw`]
pub fn decode_request(
    body: &Bytes,
    json_len: Option<usize>,
    limits: &CodecLimits,
) -> Result<InferRequest, OipError> {
    decode(body, json_len, limits, request::read)
}

/// Decodes a raw-binary request (`Inference-Header-Content-Length: 0`): the whole body is the data of `input`, the
/// model's only one, as one row. All outputs are asked for, in binary form.
///
/// The shape is the declared one with the batch dimension at 1 and at most one other open dimension deduced from the
/// body's length; the data shares the body's memory. The body of a BYTES input is its one element.
///
/// # Errors
/// - `bad-request`: the body does not fill the declared shape
/// - `bad-request`: a BOOL is neither 0 nor 1
/// - `bad-request`: two dimensions are open
/// - `bad-request`: a BYTES input needs more than one element
pub fn decode_raw(body: &Bytes, input: &RawInput<'_>) -> Result<InferRequest, OipError> {
    let name = crate::error::shown(input.name);
    raw::read(body, input).map_err(|fault| OipError::bad_request(format!("raw input '{name}': {fault}")))
}

/// Encodes an infer response; each output in the form that it asks for.
///
/// # Errors
/// - `unsupported`: BYTES that are not UTF-8 are asked for as JSON
/// - `internal`: an output's data does not fit its shape
pub fn encode_response(response: &InferResponse) -> Result<Encoded, OipError> {
    response::write(response).map(print::Body::finish)
}

/// Encodes an infer request, for clients: all inputs in binary form, or all as JSON.
///
/// # Errors
/// As [`encode_response`].
pub fn encode_request(request: &InferRequest, binary: bool) -> Result<Encoded, OipError> {
    request::write(request, |_| binary).map(print::Body::finish)
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
    decode(body, json_len, limits, response::read)
}

fn decode<T>(
    body: &Bytes,
    json_len: Option<usize>,
    limits: &CodecLimits,
    read: fn(&mut Cursor<'_>, &mut Tail, &CodecLimits) -> Checked<T>,
) -> Result<T, OipError> {
    if json_len == Some(0) {
        let message =
            "Inference-Header-Content-Length is 0: the model must be known to read a body without JSON";
        return Err(OipError::new(Reason::Unsupported, message));
    }
    let decode = || -> Checked<T> {
        let (json, mut tail) = binary::split(body, json_len)?;
        let mut cursor = Cursor::new(&json, limits.json_depth);
        let value = read(&mut cursor, &mut tail, limits)?;
        cursor.end()?;
        tail.end()?;
        Ok(value)
    };
    decode().map_err(OipError::bad_request)
}

#[cfg(test)]
mod tests;
