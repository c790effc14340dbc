//! Binds a decoded request to a model: every input in the model's order, known to fit it.
//!
//! Everything that libtorch must never see is found here, and the message names what was expected. Pure; below this
//! nothing about a request is checked again. The codec has checked that each tensor's data fits its own shape.

use bytes::Bytes;
use weir_batching::ShapeKey;
use weir_config::model::{Padding, TensorSpec};
use weir_protocol::{
    Datatype, InferRequest, OipError, Tensor,
    error::shown,
    infer::{self, RequestedOutput},
};

mod length;
mod parameters;

use self::parameters::Wishes;
use super::AnswerForm;
use crate::{lanes::Part, model::ModelSpec};

/// A request that fits its model.
#[derive(Debug)]
pub(super) struct Bound {
    /// What is to run, in the model's order.
    pub(super) whole: Part,
    /// Sizes of the free dimensions after padding, those of the batch left out.
    pub(super) shape: ShapeKey,
    /// What its parameters say of its time.
    pub(super) wishes: Wishes,
    /// How to answer.
    pub(super) answer: AnswerForm,
}

/// Checks a request against a model.
///
/// # Errors
/// `bad-request` that names the first thing wrong and what was expected.
pub(super) fn bind(spec: &ModelSpec, request: InferRequest) -> Result<Bound, OipError> {
    let outputs = outputs(spec, &request)?;
    let wishes = parameters::read(&request.parameters)?;
    let slots = slots(spec, request.inputs)?;
    let rows = rows(spec, &slots)?;
    let length = length::read(spec, &slots)?;
    let own = length.map_or(0, |length| length.own);
    let tensors = slots.into_iter().map(|slot| slot.map_or_else(|| mask(rows, own), whole));
    let (shapes, inputs): (Vec<_>, Vec<_>) = tensors.unzip();
    let shape = spec.shape_key(&shapes, length.map(|length| length.bucket));
    let answer = AnswerForm { id: request.id, outputs };
    Ok(Bound { whole: Part { rows, inputs, shapes, length }, shape, wishes, answer })
}

/// A tensor in the terms of batches.
fn whole(tensor: Tensor) -> (Vec<i64>, Bytes) {
    // The codec saw that a shape's product fits an i64, so each dimension does.
    let signed = |dim: u64| i64::try_from(dim).unwrap_or(i64::MAX);
    (tensor.shape.into_iter().map(signed).collect(), tensor.data)
}

/// A mask that is made with its batch: no data, and the shape that it will have without padding.
fn mask(rows: u32, length: u64) -> (Vec<i64>, Bytes) {
    (vec![i64::from(rows), i64::try_from(length).unwrap_or(i64::MAX)], Bytes::new())
}

/// The inputs in the model's order, each there once, of the right type and shape; only masks may be missing.
fn slots(spec: &ModelSpec, given: Vec<Tensor>) -> Result<Vec<Option<Tensor>>, OipError> {
    let mut slots: Vec<Option<Tensor>> = spec.inputs.iter().map(|_| None).collect();
    for tensor in given {
        let index = spec.inputs.iter().position(|input| input.name == tensor.name);
        let Some((expected, slot)) = index.and_then(|at| spec.inputs.get(at).zip(slots.get_mut(at))) else {
            let (name, known) = (shown(&tensor.name), names(&spec.inputs));
            return Err(bad(format!("unknown input '{name}': the model's inputs are {known}")));
        };
        if slot.is_some() {
            return Err(bad(format!("input '{}' is given twice", expected.name)));
        }
        check_tensor(spec, expected, &tensor)?;
        if spec.takes_texts && expected.datatype == Datatype::Bytes {
            check_texts(&tensor)?;
        }
        *slot = Some(tensor);
    }
    let needed = spec.inputs.iter().zip(&slots).filter(|(input, _)| input.padding != Padding::Mask);
    match needed.into_iter().find(|(_, slot)| slot.is_none()) {
        Some((expected, _)) => {
            Err(bad(format!("input '{}' is missing: {}", expected.name, wanted(expected))))
        }
        None => Ok(slots),
    }
}

fn check_tensor(spec: &ModelSpec, expected: &TensorSpec, given: &Tensor) -> Result<(), OipError> {
    let fits = |(at, (want, dim)): (usize, (&i64, &u64))| {
        spec.is_batch_dim(at) || if *want < 0 { *dim > 0 } else { i64::try_from(*dim) == Ok(*want) }
    };
    let shape_fits = expected.shape.len() == given.shape.len()
        && expected.shape.iter().zip(&given.shape).enumerate().all(fits);
    if given.datatype != expected.datatype || !shape_fits {
        let (name, want) = (&expected.name, wanted(expected));
        let (datatype, shape) = (given.datatype, dimensions(&given.shape));
        // Such as that of an empty text, which the expected shape alone would seem to allow.
        let hint = if given.shape.contains(&0) { ", with at least 1 for each -1" } else { "" };
        return Err(bad(format!("input '{name}' is {datatype} {shape}: {want}{hint}")));
    }
    Ok(())
}

/// Elements of BYTES that become texts of the model's language: it has no others.
fn check_texts(given: &Tensor) -> Result<(), OipError> {
    let is_text = |element: &[u8]| std::str::from_utf8(element).is_ok() && !element.contains(&0);
    match infer::strings(&given.data).position(|element| !is_text(element)) {
        None => Ok(()),
        Some(at) => Err(bad(format!(
            "input '{}', element {at}: expected a text in UTF-8 without NUL, which is what the model takes for BYTES",
            given.name
        ))),
    }
}

/// The batch dimension, equal over all inputs and within the model's limit.
fn rows(spec: &ModelSpec, inputs: &[Option<Tensor>]) -> Result<u32, OipError> {
    if !spec.batched {
        return Ok(1);
    }
    let batch = |tensor: &'_ Tensor| tensor.shape.first().copied().unwrap_or(0);
    let mut batches = inputs.iter().flatten().map(|tensor| (&tensor.name, batch(tensor)));
    let Some((first, rows)) = batches.next() else { return Ok(1) };
    if let Some((other, others)) = batches.find(|(_, others)| *others != rows) {
        return Err(bad(format!(
            "input '{first}' has {rows} rows and input '{other}' has {others}: the first dimension of all inputs must be equal"
        )));
    }
    let max = spec.max_request_rows;
    match u32::try_from(rows) {
        Ok(rows) if (1..=max).contains(&rows) => Ok(rows),
        _ => {
            Err(bad(format!("the request has {rows} rows: expected 1 to {max}, the model's max_queue_size")))
        }
    }
}

/// The outputs to answer with; all of them when none was named.
fn outputs(spec: &ModelSpec, request: &InferRequest) -> Result<Vec<(usize, bool)>, OipError> {
    if request.outputs.is_empty() {
        return Ok((0..spec.outputs.len()).map(|index| (index, request.binary_output)).collect());
    }
    let mut chosen: Vec<(usize, bool)> = Vec::with_capacity(request.outputs.len());
    for RequestedOutput { name, binary } in &request.outputs {
        let Some(index) = spec.outputs.iter().position(|output| output.name == *name) else {
            let (name, known) = (shown(name), names(&spec.outputs));
            return Err(bad(format!("unknown output '{name}': the model's outputs are {known}")));
        };
        if chosen.iter().any(|(other, _)| *other == index) {
            return Err(bad(format!("output '{name}' is asked for twice")));
        }
        chosen.push((index, binary.unwrap_or(request.binary_output)));
    }
    Ok(chosen)
}

/// What an input must be, for a message, in the words of the model's metadata: `expected FP32 [-1,3,8]`.
fn wanted(expected: &TensorSpec) -> String {
    let dims: Vec<_> = expected.shape.iter().map(ToString::to_string).collect();
    format!("expected {} [{}]", expected.datatype, dims.join(","))
}

fn dimensions(shape: &[u64]) -> String {
    let dims: Vec<_> = shape.iter().take(16).map(ToString::to_string).collect();
    format!("[{}]", dims.join(","))
}

fn names(tensors: &[TensorSpec]) -> String {
    tensors.iter().map(|tensor| format!("'{}'", tensor.name)).collect::<Vec<_>>().join(", ")
}

fn bad(message: impl Into<String>) -> OipError {
    OipError::bad_request(message)
}

#[cfg(test)]
mod tests;
