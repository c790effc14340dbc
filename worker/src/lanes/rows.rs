//! What a batch gave, checked against model.toml and cut into the rows of its requests.
//!
//! Part of `lanes`; pure.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use weir_batching::Ticket;

use super::{Done, Job, assemble};
use crate::{
    backend::{self, BackendError, OutputBatch, Rows},
    model::{
        ModelSpec, contract,
        length::{Length, padded_dim},
    },
};

/// The outputs of one batch, known to be as model.toml says.
#[derive(Debug)]
pub(super) struct BatchRows(Vec<Output>);

#[derive(Debug)]
struct Output {
    batch: OutputBatch,
    /// `None` without a batch dimension: the model's one request gets everything.
    rows: Option<Rows>,
    /// The dimension that is cut back to the length of each request.
    cut: Option<usize>,
}

impl BatchRows {
    /// Checks what the backend gave for a batch.
    pub(super) fn check(
        spec: &ModelSpec,
        outputs: Vec<OutputBatch>,
        tickets: &[Ticket<Job>],
    ) -> Result<Self, BackendError> {
        let rows = tickets.iter().map(|ticket| ticket.rows).sum();
        contract::check_outputs(spec, &outputs, rows, assemble::bucket(tickets))?;
        let output = |(batch, cut): (OutputBatch, Option<usize>)| {
            let rows = if spec.batched {
                let rows = Rows::new(batch.datatype, &batch.shape, &batch.data);
                Some(rows.ok_or_else(|| BackendError::new("an output does not fit its own shape"))?)
            } else {
                None
            };
            Ok(Output { batch, rows, cut })
        };
        let outputs = outputs.into_iter().zip(spec.outputs.iter().map(padded_dim));
        Ok(Self(outputs.map(output).collect::<Result<_, _>>()?))
    }

    /// Sends every request its rows; a requester that is gone is skipped.
    pub(super) fn send(&self, tickets: Vec<Ticket<Job>>, taken: Duration, forward: Duration) {
        let mut start = 0;
        for ticket in tickets {
            let (rows, length) = (start..start + ticket.rows, ticket.payload.part.length);
            start = rows.end;
            let outputs = self.0.iter().map(|output| output.of(&rows, length)).collect();
            let waited = taken.saturating_sub(ticket.payload.arrived);
            ticket.payload.answer(Ok(Done { outputs, waited, forward }));
        }
    }
}

impl Output {
    /// What one request gets: a slice of the batch's buffer, copied only where padding lies between its elements.
    fn of(&self, rows: &Range<u32>, length: Option<Length>) -> (Vec<i64>, Bytes) {
        let OutputBatch { datatype, shape, data } = &self.batch;
        let Some(cuts) = &self.rows else { return (shape.clone(), data.clone()) };
        let mut shape = shape.clone();
        if let Some(batch) = shape.first_mut() {
            *batch = i64::from(rows.end - rows.start);
        }
        // `check` saw that the first dimension is the batch's rows, so the range is inside.
        let data = data.slice(cuts.bytes(rows));
        match self.cut.zip(length) {
            Some((at, length)) => backend::trim(*datatype, shape, data, at, length.own),
            None => (shape, data),
        }
    }
}
