//! The two parts of a body: JSON, and the raw tensors that follow it (binary tensor extension).
//!
//! Owns the arithmetic of the split; slices share the body's memory. Knows neither datatypes nor shapes. Called
//! by decoding.

use bytes::Bytes;

use super::text::Checked;

/// Splits a body after the `json_len` bytes of its JSON part; without a length everything is JSON.
pub(super) fn split(body: &Bytes, json_len: Option<usize>) -> Checked<(Bytes, Tail)> {
    let Some(json_len) = json_len else {
        return Ok((body.clone(), Tail { rest: Bytes::new(), announced: false, taken: 0 }));
    };
    if json_len > body.len() {
        return Err(format!(
            "Inference-Header-Content-Length is {json_len}, the body has only {} bytes",
            body.len()
        ));
    }
    let tail = Tail { rest: body.slice(json_len..), announced: true, taken: 0 };
    Ok((body.slice(..json_len), tail))
}

/// The raw tensors of a body, taken from the front.
#[derive(Debug)]
pub(super) struct Tail {
    rest: Bytes,
    announced: bool,
    taken: u64,
}

impl Tail {
    /// Takes the next `size` bytes without copying them.
    pub(super) fn take(&mut self, size: u64) -> Checked<Bytes> {
        if !self.announced {
            return Err("binary_data_size needs the header Inference-Header-Content-Length".into());
        }
        match usize::try_from(size) {
            Ok(size) if size <= self.rest.len() => {
                self.taken += size as u64;
                Ok(self.rest.split_to(size))
            }
            _ => Err(format!(
                "binary_data_size is {size}, only {} bytes of the body are left",
                self.rest.len()
            )),
        }
    }

    /// Checks that every byte was taken.
    pub(super) fn end(&self) -> Checked<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} bytes follow the JSON part, the binary_data_size of all tensors sum to {}",
            self.taken + self.rest.len() as u64,
            self.taken
        ))
    }
}
