//! Writes tensors: as JSON elements, or as raw bytes behind the JSON.
//!
//! Owns the body in the making, so that the raw bytes are copied once, to where they go. Called by the request and
//! response writers.

mod element;

use serde::Serialize;

use super::Encoded;
use crate::{OipError, Reason, Tensor};

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
        element::write(&mut body.json, tensor)?;
        body.text("]");
    }
    body.text("}");
    Ok(())
}
