//! An inference request and response, independent of how they travelled.
//!
//! A tensor's data is one contiguous buffer in the raw form of the binary tensor extension (little-endian,
//! row-major; BOOL one byte 0 or 1; BYTES each element a u32 length then its bytes), whichever way it came in, so
//! that everything behind the codec sees one representation.

mod parameter;

pub use self::parameter::{Parameter, Parameters};
use crate::{Datatype, OipError, error::shown};

/// Most dimensions of a tensor; libtorch's own limit.
pub(crate) const MAX_RANK: usize = 64;

/// One named tensor with its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name, as the model's configuration spells it.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions, outermost first. Their product is the number of elements in `data`.
    pub shape: Vec<u64>,
    /// Raw elements: little-endian, row-major.
    pub data: bytes::Bytes,
}

impl Tensor {
    /// Number of elements that the shape stands for: see [`element_count`].
    #[must_use]
    pub fn element_count(&self) -> Option<u64> {
        element_count(&self.shape)
    }

    /// Checks that the shape has at most 64 dimensions and that the data is what datatype and shape say: its size, BOOL
    /// bytes 0 or 1, BYTES lengths that add up. Holds for every tensor that the codec decoded.
    ///
    /// # Errors
    /// [`crate::Reason::BadRequest`], naming the tensor, what is needed and what is there.
    pub fn check(&self) -> Result<(), OipError> {
        // First: other faults show the shape.
        let checked = if self.shape.len() > MAX_RANK {
            Err(format!("more than {MAX_RANK} dimensions"))
        } else {
            check_size(self.datatype, &self.shape, self.data.len() as u64)
                .map_err(|fault| format!("{fault}, there are {}", self.data.len()))
                .and_then(|()| self.check_content())
        };
        checked.map_err(|fault| OipError::bad_request(format!("tensor '{}': {fault}", shown(&self.name))))
    }

    /// Checks what the elements themselves promise, the size being right.
    pub(crate) fn check_content(&self) -> Result<(), String> {
        match self.datatype {
            Datatype::Bool => check_bools(&self.data),
            Datatype::Bytes => check_strings(&self.data, self.element_count()),
            _ => Ok(()),
        }
    }
}

/// Number of elements of a shape: the product of its dimensions, 1 for none, 0 if any is 0.
///
/// `None` when the dimensions other than 0 multiply to more than 2^63 - 1: strides are computed from them even
/// where there is no element.
#[must_use]
pub fn element_count(shape: &[u64]) -> Option<u64> {
    let product = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size.max(1)))?;
    let product = i64::try_from(product).is_ok().then_some(product)?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// Fewest bytes that the raw form can take; exact but for BYTES, whose elements take at least their length prefix.
pub(crate) fn least_bytes(datatype: Datatype, shape: &[u64]) -> Option<u64> {
    let size = datatype.size().unwrap_or(size_of::<u32>());
    element_count(shape)?.checked_mul(size as u64)
}

/// Checks a raw form's length against datatype and shape; the error says what is needed.
pub(crate) fn check_size(datatype: Datatype, shape: &[u64], bytes: u64) -> Result<(), String> {
    match (least_bytes(datatype, shape), datatype.size()) {
        (None, _) => Err(format!("shape {shape:?} of {datatype} is too large")),
        (Some(needed), Some(_)) if needed != bytes => {
            Err(format!("shape {shape:?} needs {needed} bytes of {datatype}"))
        }
        (Some(needed), None) if needed > bytes => {
            Err(format!("shape {shape:?} needs at least {needed} bytes of {datatype}"))
        }
        _ => Ok(()),
    }
}

/// The elements of a BYTES tensor in raw form, in order; all of them when [`Tensor::check`] found nothing, else those
/// before the first that is cut off.
pub fn strings(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (string, after) = split_string(rest)?;
        rest = after;
        Some(string)
    })
}

/// Appends one element to a BYTES tensor in raw form.
///
/// # Errors
/// The element is longer than its length prefix can tell, 4 GiB; nothing was appended.
pub fn push_string(data: &mut Vec<u8>, string: &[u8]) -> Result<(), OipError> {
    let length = u32::try_from(string.len())
        .map_err(|_| OipError::bad_request("an element of BYTES is longer than 4 GiB"))?;
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(string);
    Ok(())
}

/// The first element of BYTES in raw form and what follows it; `None` when the data ends within it.
pub(crate) fn split_string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn check_bools(data: &[u8]) -> Result<(), String> {
    match data.iter().enumerate().find(|(_, byte)| **byte > 1) {
        None => Ok(()),
        Some((index, byte)) => Err(format!("element {index} (BOOL): expected the byte 0 or 1, found {byte}")),
    }
}

fn check_strings(mut data: &[u8], count: Option<u64>) -> Result<(), String> {
    let mut seen = 0_u64;
    while !data.is_empty() {
        let Some((_, rest)) = split_string(data) else {
            return Err(format!(
                "element {seen} (BYTES): expected a 4-byte length and that many bytes, found {} bytes in all",
                data.len()
            ));
        };
        data = rest;
        seen += 1;
    }
    match count {
        Some(count) if count == seen => Ok(()),
        _ => {
            Err(format!("the shape needs {} elements of BYTES, there are {seen}", count.unwrap_or(u64::MAX)))
        }
    }
}

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
    /// Response-level parameters, without those that say how outputs travel; left out of JSON when empty.
    pub parameters: Parameters,
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

#[cfg(test)]
mod tests;
