//! Writes tensors: as JSON elements, flat and row-major, or as raw bytes behind the JSON.
//!
//! Floats are printed as the shortest decimal that reads back to the same value; NaN and the infinities as the bare
//! tokens `NaN`, `Infinity` and `-Infinity`, which is what Triton writes and Python's `json` reads. No element
//! allocates. Called by the request and response writers.

use serde::Serialize;

use super::Encoded;
use crate::{Datatype, OipError, Reason, Tensor, infer::split_string};

/// A body in the making: JSON so far, and the raw tensors to follow it.
#[derive(Default)]
pub(super) struct Body {
    json: Vec<u8>,
    raw: Vec<bytes::Bytes>,
}

impl Body {
    /// Joins both parts.
    pub(super) fn finish(self) -> Encoded {
        let Self { mut json, raw } = self;
        if raw.is_empty() {
            return Encoded { body: json.into(), json_len: None };
        }
        let json_len = json.len();
        json.reserve_exact(raw.iter().map(bytes::Bytes::len).sum());
        for part in raw {
            json.extend_from_slice(&part);
        }
        Encoded { body: json.into(), json_len: Some(json_len) }
    }

    /// Appends JSON as it is.
    pub(super) fn text(&mut self, text: &str) {
        self.json.extend_from_slice(text.as_bytes());
    }

    /// Appends a string, quoted and escaped.
    pub(super) fn string(&mut self, text: &str) -> Result<(), OipError> {
        self.value(text)
    }

    /// Appends any small value as serde_json writes it.
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), OipError> {
        serde_json::to_writer(&mut self.json, value)
            .map_err(|error| OipError::new(Reason::Internal, format!("cannot write JSON: {error}")))
    }

    /// Appends an array; `write` gets each item with its index.
    pub(super) fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, usize, &T) -> Result<(), OipError>,
    ) -> Result<(), OipError> {
        self.text("[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text(",");
            }
            write(self, index, item)?;
        }
        self.text("]");
        Ok(())
    }
}

/// Appends a tensor object; its data goes into the JSON, or behind it when `binary`.
pub(super) fn tensor(body: &mut Body, tensor: &Tensor, binary: bool) -> Result<(), OipError> {
    tensor.check().map_err(|error| OipError::new(Reason::Internal, error.message))?;
    body.text("{\"name\":");
    body.string(&tensor.name)?;
    body.text(",\"datatype\":\"");
    body.text(tensor.datatype.name());
    body.text("\",\"shape\":");
    body.value(&tensor.shape)?;
    if binary {
        body.text(",\"parameters\":{\"binary_data_size\":");
        body.value(&tensor.data.len())?;
        body.text("}");
        body.raw.push(tensor.data.clone());
    } else {
        body.text(",\"data\":[");
        elements(&mut body.json, tensor)?;
        body.text("]");
    }
    body.text("}");
    Ok(())
}

fn elements(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), OipError> {
    let data = &tensor.data;
    match tensor.datatype {
        Datatype::Bool => list(out, data, |out, [b]| {
            out.extend_from_slice(if b == 0 { b"false" } else { b"true" });
        }),
        Datatype::Uint8 => list(out, data, |out, raw| integer(out, u8::from_le_bytes(raw))),
        Datatype::Uint16 => list(out, data, |out, raw| integer(out, u16::from_le_bytes(raw))),
        Datatype::Uint32 => list(out, data, |out, raw| integer(out, u32::from_le_bytes(raw))),
        Datatype::Uint64 => list(out, data, |out, raw| integer(out, u64::from_le_bytes(raw))),
        Datatype::Int8 => list(out, data, |out, raw| integer(out, i8::from_le_bytes(raw))),
        Datatype::Int16 => list(out, data, |out, raw| integer(out, i16::from_le_bytes(raw))),
        Datatype::Int32 => list(out, data, |out, raw| integer(out, i32::from_le_bytes(raw))),
        Datatype::Int64 => list(out, data, |out, raw| integer(out, i64::from_le_bytes(raw))),
        Datatype::Fp32 => list(out, data, |out, raw| {
            let value = f32::from_le_bytes(raw);
            float(out, value, f64::from(value));
        }),
        Datatype::Fp64 => list(out, data, |out, raw| {
            let value = f64::from_le_bytes(raw);
            float(out, value, value);
        }),
        Datatype::Bytes => return strings(out, tensor),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(no_json_form(tensor, &format!("{} has no JSON form", tensor.datatype)));
        }
    }
    Ok(())
}

fn list<const N: usize>(out: &mut Vec<u8>, data: &[u8], mut write: impl FnMut(&mut Vec<u8>, [u8; N])) {
    let (elements, _) = data.as_chunks::<N>();
    for (index, raw) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, *raw);
    }
}

fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `wide` is the same value, to tell the non-finite ones apart.
fn float(out: &mut Vec<u8>, value: impl ryu::Float, wide: f64) {
    if wide.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

fn strings(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), OipError> {
    let mut rest: &[u8] = &tensor.data;
    let mut separator: &[u8] = b"";
    while let Some((element, after)) = split_string(rest) {
        let text = std::str::from_utf8(element)
            .map_err(|_| no_json_form(tensor, "an element of BYTES is not UTF-8"))?;
        out.extend_from_slice(separator);
        serde_json::to_writer(&mut *out, text)
            .map_err(|error| OipError::new(Reason::Internal, format!("cannot write JSON: {error}")))?;
        (rest, separator) = (after, b",");
    }
    Ok(())
}

fn no_json_form(tensor: &Tensor, why: &str) -> OipError {
    let name = crate::error::shown(&tensor.name);
    OipError::new(Reason::Unsupported, format!("'{name}': {why}: use the binary form (binary_data)"))
}
