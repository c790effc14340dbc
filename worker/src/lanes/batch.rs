//! One batch on a lane: write the rows together, run them, send each request its own.
//!
//! A failed forward pass says nothing of whose fault it was, so halves of the batch run again until whatever is bad is
//! alone; the lane is held meanwhile. Called by `lane` with what the hand-over gave.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use weir_batching::{Batch, Dropped, Ended, Ticket};
use weir_config::model::TensorSpec;

use super::{Job, JobError, Served, job::answer_dropped, rows::BatchRows};
use crate::{
    backend::{BackendError, InputBatch},
    clock::Clock,
    statistics::BatchTimes,
};

/// Runs a batch and answers everybody in it.
pub(super) fn run(batch: Batch<Job>, clock: Clock) -> Ended {
    let taken = clock.now();
    let Some(first) = batch.tickets.first() else { return Ended::Failed };
    let served = Arc::clone(&first.payload.served);
    for ticket in &batch.tickets {
        served.metrics.record_wait(taken.saturating_sub(ticket.payload.arrived));
    }
    let is_good = Run { served: &served, clock, taken }.all(batch.tickets);
    let busy = clock.now().saturating_sub(taken);
    served.metrics.record_batch(busy);
    if is_good { Ended::Ran(busy) } else { Ended::Failed }
}

struct Run<'a> {
    served: &'a Served,
    clock: Clock,
    taken: Duration,
}

impl Run<'_> {
    /// Runs the tickets together and, where that fails, in halves. Answers whether nothing failed.
    fn all(&self, tickets: Vec<Ticket<Job>>) -> bool {
        let mut is_good = true;
        let mut groups = vec![tickets];
        while let Some(group) = groups.pop() {
            let mut group = self.alive(group);
            if group.is_empty() {
                continue;
            }
            match self.forward(&group) {
                Ok((rows, forward)) => rows.send(group, self.taken, forward),
                Err(error) => {
                    is_good = false;
                    if group.len() > 1 {
                        groups.push(group.split_off(group.len() / 2));
                        groups.push(group);
                    } else {
                        send_error(group, &error);
                    }
                }
            }
        }
        is_good
    }

    /// Those that are still worth running: earlier passes of a failed batch take their time.
    fn alive(&self, tickets: Vec<Ticket<Job>>) -> Vec<Ticket<Job>> {
        let now = self.clock.now();
        let alive = |ticket: Ticket<Job>| match ticket.dead(now) {
            None => Some(ticket),
            Some(cause) => {
                answer_dropped(Dropped { cause, ticket });
                None
            }
        };
        // Collects in place: no allocation.
        tickets.into_iter().filter_map(alive).collect()
    }

    /// One forward pass, checked against model.toml, with the time it took.
    fn forward(&self, tickets: &[Ticket<Job>]) -> Result<(BatchRows, Duration), BackendError> {
        let (served, clock) = (self.served, self.clock);
        let rows = tickets.iter().map(|ticket| ticket.rows).sum();
        let began = clock.now();
        let inputs = self.inputs(tickets, rows);
        let started = clock.now();
        let result = catch_unwind(AssertUnwindSafe(|| served.backend.forward(&inputs)))
            .unwrap_or_else(|_| Err(BackendError::new("the forward pass panicked")));
        let ended = clock.now();
        let took = ended.saturating_sub(started);
        served.metrics.record_forward(rows, took);
        let checked = result.and_then(|outputs| BatchRows::check(&served.spec, outputs, rows));
        match &checked {
            // Before the answers leave, so that who got one finds its batch counted.
            Ok(_) => served.statistics.record_batch(
                rows,
                &BatchTimes {
                    compute_input: started.saturating_sub(began),
                    compute_infer: took,
                    compute_output: clock.now().saturating_sub(ended),
                },
            ),
            Err(error) => self.log_failure(error),
        }
        checked.map(|rows| (rows, took))
    }

    fn inputs<'a>(&self, tickets: &'a [Ticket<Job>], rows: u32) -> Vec<InputBatch<'a>> {
        let spec = &self.served.spec;
        let one = |(index, input): (usize, &TensorSpec)| {
            let parts =
                tickets.iter().filter_map(|t| t.payload.inputs.get(index)).map(AsRef::as_ref).collect();
            let first = tickets.first().and_then(|ticket| ticket.payload.shapes.get(index));
            let mut shape = first.cloned().unwrap_or_default();
            if let (true, Some(batch)) = (spec.batched, shape.first_mut()) {
                *batch = i64::from(rows);
            }
            InputBatch::whole(input.datatype, shape, parts)
        };
        spec.inputs.iter().enumerate().map(one).collect()
    }

    fn log_failure(&self, error: &BackendError) {
        let spec = &self.served.spec;
        let (model, version) = (spec.name.as_str(), spec.version.number());
        if self.served.broken.swap(true, Ordering::Relaxed) {
            tracing::debug!(model, version, error = error.detail, "a forward pass failed");
        } else {
            tracing::warn!(
                model,
                version,
                error = error.detail,
                "a forward pass failed; the next failures of this version are logged at debug level"
            );
        }
    }
}

fn send_error(tickets: Vec<Ticket<Job>>, error: &BackendError) {
    for ticket in tickets {
        ticket.payload.answer(Err(JobError::Failed(error.summary.clone())));
    }
}
