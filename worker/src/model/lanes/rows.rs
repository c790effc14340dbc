//! What a batch gave, checked against model.toml and cut into the rows of its requests.
//!
//! Part of `lanes`; pure.

use std::time::Duration;

use bytes::Bytes;
use weir_batching::Ticket;

use super::{Done, Job};
use crate::{
    backend::{BackendError, OutputBatch},
    model::{ModelSpec, contract},
};

/// The outputs of one batch, known to be as model.toml says.
#[derive(Debug)]
pub(super) struct BatchRows {
    outputs: Vec<OutputBatch>,
    rows: u32,
    batched: bool,
}

impl BatchRows {
    /// Checks what the backend gave for a batch of `rows`.
    pub(super) fn check(
        spec: &ModelSpec,
        outputs: Vec<OutputBatch>,
        rows: u32,
    ) -> Result<Self, BackendError> {
        contract::check_outputs(spec, &outputs, rows)?;
        Ok(Self { outputs, rows, batched: spec.batched })
    }

    /// Sends every request its rows; a requester that is gone is skipped.
    pub(super) fn send(&self, tickets: Vec<Ticket<Job>>, taken: Duration, forward: Duration) {
        let mut start = 0;
        for ticket in tickets {
            let outputs = self.outputs.iter().map(|output| self.slice(output, start, ticket.rows)).collect();
            start += ticket.rows;
            let waited = taken.saturating_sub(ticket.payload.arrived);
            let _ = ticket.payload.reply.send(Ok(Done { outputs, waited, forward }));
        }
    }

    /// Rows `start..start + rows` of an output: a slice of the batch's buffer, not a copy.
    fn slice(&self, output: &OutputBatch, start: u32, rows: u32) -> (Vec<i64>, Bytes) {
        let mut shape = output.shape.clone();
        let Some(batch) = shape.first_mut().filter(|_| self.batched) else {
            return (shape, output.data.clone());
        };
        *batch = i64::from(rows);
        // `check` saw that the first dimension is `rows`, so this divides and the range is inside.
        let row_len = output.data.len() / self.rows.max(1) as usize;
        let range = start as usize * row_len..(start + rows) as usize * row_len;
        (shape, output.data.slice(range))
    }
}
