//! How long a request is, in a model whose inputs are padded, and which bucket that makes it part of.
//!
//! Part of `bind`; pure. Padding itself is written where the batch is assembled: nothing is copied here.

use weir_config::model::{Padding, TensorSpec};
use weir_protocol::{OipError, Tensor};

use super::bad;
use crate::model::{
    ModelSpec,
    length::{Length, padded_dim},
};

/// The length of a request's longest padded input, with its bucket; `None` in a model that pads nothing. The slot of a
/// mask that the request did not bring is empty.
///
/// # Errors
/// `bad-request`: longer than the largest bucket; inputs of different lengths, where there is one mask, or one output
/// to cut back, for all of them.
pub(super) fn read(spec: &ModelSpec, slots: &[Option<Tensor>]) -> Result<Option<Length>, OipError> {
    let fills = |(input, _): &(&TensorSpec, u64)| matches!(input.padding, Padding::Fill(_));
    let longest = lengths(spec, slots).filter(fills).max_by_key(|(_, length)| *length);
    let Some((input, own)) = longest else { return Ok(None) };
    if has_one_length(spec)
        && let Some((other, length)) = lengths(spec, slots).find(|(_, length)| *length != own)
    {
        return Err(bad(format!(
            "input '{}' has length {own} and input '{}' has {length}: the padded inputs and masks of a request must be equally long",
            input.name, other.name
        )));
    }
    let most = spec.buckets.last().copied().unwrap_or_default();
    let too_long = || {
        let name = &input.name;
        bad(format!("input '{name}' has length {own}: expected at most {most}, the model's largest bucket"))
    };
    spec.length(own).map(Some).ok_or_else(too_long)
}

/// The padded inputs and masks of a request, and how long each is.
fn lengths<'a>(
    spec: &'a ModelSpec,
    slots: &'a [Option<Tensor>],
) -> impl Iterator<Item = (&'a TensorSpec, u64)> {
    let tensors = spec.inputs.iter().zip(slots);
    tensors.filter_map(|(input, slot)| Some((input, *slot.as_ref()?.shape.get(padded_dim(input)?)?)))
}

/// Whether something of the model's depends on all padded inputs being equally long.
fn has_one_length(spec: &ModelSpec) -> bool {
    spec.inputs.iter().any(|input| input.padding == Padding::Mask)
        || spec.outputs.iter().any(|output| output.padding == Padding::Cut)
}
