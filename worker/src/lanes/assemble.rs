//! The inputs of a batch: the rows of its requests one after the other, padded to one length where the model pads.
//!
//! Says what goes where; the one copy of each row is made by the backend, right into the memory that the model reads.
//! Part of `lanes`; pure.

use weir_batching::Ticket;
use weir_config::model::{Padding, TensorSpec};

use super::{Job, Part};
use crate::{
    backend::{BatchPadding, InputBatch},
    model::{
        ModelSpec,
        length::{mask_element, pad_element, padded_dim},
    },
};

/// For each input of a model with masks, ones for the requests that did not bring theirs; as many as the largest needs.
pub(super) struct Masks(Vec<Vec<u8>>);

impl Masks {
    pub(super) fn new(spec: &ModelSpec, tickets: &[Ticket<Job>]) -> Self {
        if spec.inputs.iter().all(|input| input.padding != Padding::Mask) {
            return Self(Vec::new());
        }
        let ones = |(at, input): (usize, &TensorSpec)| {
            let missing = parts(tickets).filter(|part| is_made(input, part, at));
            let longest = missing.filter_map(Part::elements).max().unwrap_or(0);
            mask_element(input.datatype).map_or_else(Vec::new, |one| one.as_bytes().repeat(longest))
        };
        Self(spec.inputs.iter().enumerate().map(ones).collect())
    }

    /// The mask of a part that brings none.
    fn of(&self, input: &TensorSpec, part: &Part, at: usize) -> &[u8] {
        let bytes = part.elements().zip(input.datatype.size()).map_or(0, |(elements, size)| elements * size);
        self.0.get(at).and_then(|ones| ones.get(..bytes)).unwrap_or_default()
    }
}

/// The inputs of a batch, in the model's order.
pub(super) fn inputs<'a>(
    spec: &ModelSpec,
    tickets: &'a [Ticket<Job>],
    masks: &'a Masks,
) -> Vec<InputBatch<'a>> {
    let rows = tickets.iter().map(|ticket| ticket.rows).sum();
    let bucket = bucket(tickets);
    let one = |(at, input): (usize, &TensorSpec)| {
        let data = |part: &'a Part| match part.inputs.get(at) {
            Some(data) if !is_made(input, part, at) => data.as_ref(),
            _ => masks.of(input, part, at),
        };
        let shape = parts(tickets).next().and_then(|part| part.shapes.get(at));
        InputBatch {
            datatype: input.datatype,
            shape: spec.batch_shape(input, shape.map_or(&[], Vec::as_slice), rows, bucket),
            parts: parts(tickets).map(data).collect(),
            padding: padding(input, tickets, at),
        }
    };
    spec.inputs.iter().enumerate().map(one).collect()
}

/// The length that all requests of a batch are padded to, in a model that pads: sharing a batch means sharing it.
pub(super) fn bucket(tickets: &[Ticket<Job>]) -> Option<u64> {
    Some(parts(tickets).next()?.length?.bucket)
}

fn padding(input: &TensorSpec, tickets: &[Ticket<Job>], at: usize) -> Option<BatchPadding> {
    let (axis, element) = (padded_dim(input)?, pad_element(input)?);
    let length = |part: &Part| Some(part.shapes.get(at)?.get(axis)?.unsigned_abs());
    let length = |part| length(part).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    Some(BatchPadding { axis, element, lengths: parts(tickets).map(length).collect() })
}

fn parts(tickets: &[Ticket<Job>]) -> impl Iterator<Item = &Part> {
    tickets.iter().map(|ticket| &ticket.payload.part)
}

/// Whether an input is a mask that the request did not bring. One that it brought has at least one element.
fn is_made(input: &TensorSpec, part: &Part, at: usize) -> bool {
    input.padding == Padding::Mask && part.inputs.get(at).is_none_or(|data| data.is_empty())
}

impl Part {
    /// Elements of a mask over it, where the model pads.
    fn elements(&self) -> Option<usize> {
        usize::try_from(self.length?.own.checked_mul(u64::from(self.rows))?).ok()
    }
}
