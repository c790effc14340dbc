//! Tests of the codec as its callers see it: bodies in, tensors out, and back.

mod documented;
mod forms;
mod raw;
mod refusals;
mod survival;

use bytes::Bytes;

use super::{CodecLimits, Encoded, decode_request, request};
use crate::{Datatype, InferRequest, OipError, Tensor};

/// Decodes a plain JSON request.
fn json(text: &str) -> Result<InferRequest, OipError> {
    decode_request(&Bytes::copy_from_slice(text.as_bytes()), None, &CodecLimits::default())
}

/// Decodes a request whose JSON part is `text`, followed by `raw`.
fn binary(text: &str, raw: &[u8]) -> Result<InferRequest, OipError> {
    let body = Bytes::from([text.as_bytes(), raw].concat());
    decode_request(&body, Some(text.len()), &CodecLimits::default())
}

/// Decodes a request of one input `x` of the given datatype and shape, with `data` as JSON.
fn one_input(datatype: &str, shape: &str, data: &str) -> Result<Tensor, OipError> {
    let text =
        format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#);
    json(&text).map(|mut request| request.inputs.remove(0))
}

fn request_of(inputs: Vec<Tensor>) -> InferRequest {
    InferRequest { id: None, parameters: Default::default(), inputs, outputs: vec![], binary_output: false }
}

fn tensor(name: &str, datatype: Datatype, shape: &[u64], data: &[u8]) -> Tensor {
    Tensor { name: name.to_owned(), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }
}

fn decode(encoded: &Encoded) -> Result<InferRequest, OipError> {
    decode_request(&encoded.body, encoded.json_len, &CodecLimits::default())
}

/// Encodes with the inputs at `binary` indexes in binary form.
fn encode(request: &InferRequest, binary: impl Fn(usize) -> bool) -> Result<Encoded, OipError> {
    request::write(request, binary).map(super::print::Body::finish)
}
