//! One batch on a lane: write the rows together, run them, send each request its own.
//!
//! A failed forward pass says nothing of whose fault it was, so halves of the batch run again until whatever is bad is
//! alone; the lane is held meanwhile. Called by `lane` with what the hand-over gave.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use weir_batching::{Batch, Ended, Ticket};

use super::{Job, JobError, Served, assemble, rows::BatchRows};
use crate::{backend::BackendError, clock::Clock, statistics::BatchTimes};

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
            let mut group = if is_good { group } else { self.alive(group) };
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

    /// Those of a failed group that are still worth running: its passes took their time.
    fn alive(&self, tickets: Vec<Ticket<Job>>) -> Vec<Ticket<Job>> {
        let now = self.clock.now();
        let (alive, dead): (Vec<_>, Vec<_>) =
            tickets.into_iter().partition(|ticket| ticket.dead(now).is_none());
        for ticket in dead {
            ticket.payload.answer(Err(JobError::Late));
        }
        alive
    }

    /// One forward pass, checked against model.toml, with the time it took.
    fn forward(&self, tickets: &[Ticket<Job>]) -> Result<(BatchRows, Duration), BackendError> {
        let (served, clock) = (self.served, self.clock);
        let rows = tickets.iter().map(|ticket| ticket.rows).sum();
        let began = clock.now();
        let masks = assemble::Masks::new(&served.spec, tickets);
        let inputs = assemble::inputs(&served.spec, tickets, &masks);
        let started = clock.now();
        let result = catch_unwind(AssertUnwindSafe(|| served.backend.forward(&inputs)))
            .unwrap_or_else(|_| Err(BackendError::new("the forward pass panicked")));
        let ended = clock.now();
        let took = ended.saturating_sub(started);
        served.metrics.record_forward(rows, served.spec.max_rows, took);
        self.record_padding(tickets);
        let checked = result.and_then(|outputs| BatchRows::check(&served.spec, outputs, tickets));
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

    fn record_padding(&self, tickets: &[Ticket<Job>]) {
        let lengths = tickets.iter().filter_map(|ticket| Some((ticket.rows, ticket.payload.part.length?)));
        let (real, padding) = lengths.fold((0, 0), |(real, padding), (rows, length)| {
            let rows = u64::from(rows);
            (real + rows * length.own, padding + rows * length.bucket.saturating_sub(length.own))
        });
        if real > 0 {
            self.served.metrics.record_padding(real, padding);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::{Step, scripted, ticket};

    #[test]
    fn what_comes_too_late_for_another_pass_is_told_so() {
        let (_lanes, queue, backend) = scripted([Step::Fail]);
        let (mut late, late_answer) = ticket(&queue, &[1, 2]);
        late.deadline = Some(Duration::ZERO);
        let (good, good_answer) = ticket(&queue, &[3, 4]);
        let run =
            Run { served: &Arc::clone(&good.payload.served), clock: Clock::start(), taken: Duration::ZERO };
        assert!(!run.all(vec![late, good]));
        assert_eq!(late_answer.blocking_recv().unwrap(), Err(JobError::Late));
        assert_eq!(good_answer.blocking_recv().unwrap().unwrap().outputs[0].1, [3, 4][..]);
        let passes: [&[u8]; 2] = [&[1, 2, 3, 4], &[3, 4]];
        assert_eq!(*backend.passes.lock(), passes);
    }
}
