//! What a lane thread does: wait for work, write the batch together, run it, send each request its rows.
//!
//! Lanes of one version share the queue and the backend and nothing else. A lane outlives whatever a forward pass does,
//! panics included.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use weir_batching::{
    Cancel,
    old::{Batch, Batcher, Dropped, Next, Ticket, Turn},
};
use weir_config::model::TensorSpec;

use super::{Job, JobError, rows::BatchRows};
use crate::{
    backend::{Backend, BackendError, InputBatch},
    clock::Clock,
    model::ModelSpec,
    statistics::{BatchTimes, Statistics},
    telemetry::ReplicaMetrics,
};

/// What the lanes of one version share.
pub(super) struct Shared {
    pub(super) spec: Arc<ModelSpec>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Clock,
    pub(super) metrics: ReplicaMetrics,
    pub(super) statistics: Arc<Statistics>,
    pub(super) queue: Mutex<Queue>,
    /// Notified once per admitted ticket and when the queue closes.
    pub(super) work: Condvar,
    /// Copy of the batcher's count for readers without the lock. Relaxed: it only informs.
    pub(super) queued_rows: AtomicU64,
    pub(super) max_queued_rows: u64,
    /// Set by the first failure of the model's contract, so that it is logged in full only once.
    pub(super) broken: AtomicBool,
}

pub(super) struct Queue {
    pub(super) batcher: Batcher<Job>,
    pub(super) closed: bool,
}

impl Shared {
    /// Lets lanes end once the queue is empty.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
    }

    /// A lane thread, from its start to its end.
    pub(super) fn run_lane(&self) {
        let _scope = self.backend.enter_lane();
        while let Some(Work { dropped, batch }) = self.take() {
            answer_dropped(dropped);
            if let Some(batch) = batch {
                let taken = self.clock.now();
                self.run_batch(batch, taken);
                self.metrics.record_batch(self.clock.now().saturating_sub(taken));
            }
        }
    }

    /// Waits for work. `None` once the queue is closed and empty.
    fn take(&self) -> Option<Work> {
        let mut queue = self.queue.lock();
        loop {
            let now = self.clock.now();
            let Turn { dropped, next } = queue.batcher.next(now);
            self.queued_rows.store(queue.batcher.queued_rows(), Ordering::Relaxed);
            match next {
                Next::Run(batch) => return Some(Work { dropped, batch: Some(batch) }),
                _ if !dropped.is_empty() => return Some(Work { dropped, batch: None }),
                Next::WaitUntil(due) => {
                    self.work.wait_for(&mut queue, due.saturating_sub(now));
                }
                Next::Idle if queue.closed => return None,
                Next::Idle => self.work.wait(&mut queue),
            }
        }
    }

    fn run_batch(&self, batch: Batch<Job>, taken: Duration) {
        for ticket in &batch.tickets {
            self.metrics.record_wait(taken.saturating_sub(ticket.payload.arrived));
        }
        match self.forward(&batch.tickets, batch.rows) {
            Ok((rows, forward)) => rows.send(batch.tickets, taken, forward),
            Err(_) if batch.tickets.len() > 1 => self.run_alone(batch, taken),
            Err(error) => send_error(batch.tickets, &error),
        }
    }

    /// Runs each request of a failed batch by itself, so that one bad row does not harm its neighbours.
    fn run_alone(&self, batch: Batch<Job>, taken: Duration) {
        for ticket in batch.tickets {
            if ticket.payload.cancelled() {
                continue;
            }
            let (rows, tickets) = (ticket.rows, vec![ticket]);
            match self.forward(&tickets, rows) {
                Ok((rows, forward)) => rows.send(tickets, taken, forward),
                Err(error) => send_error(tickets, &error),
            }
        }
    }

    /// One forward pass, checked against model.toml, with the time it took.
    fn forward(&self, tickets: &[Ticket<Job>], rows: u32) -> Result<(BatchRows, Duration), BackendError> {
        let began = self.clock.now();
        let inputs = self.inputs(tickets, rows);
        let started = self.clock.now();
        let result = catch_unwind(AssertUnwindSafe(|| self.backend.forward(&inputs)))
            .unwrap_or_else(|_| Err(BackendError::new("the forward pass panicked")));
        let ended = self.clock.now();
        let took = ended.saturating_sub(started);
        self.metrics.record_forward(rows, took);
        let checked = result.and_then(|outputs| BatchRows::check(&self.spec, outputs, rows));
        match &checked {
            // Before the answers leave, so that who got one finds its batch counted.
            Ok(_) => self.statistics.record_batch(
                rows,
                &BatchTimes {
                    compute_input: started.saturating_sub(began),
                    compute_infer: took,
                    compute_output: self.clock.now().saturating_sub(ended),
                },
            ),
            Err(error) => self.log_failure(error),
        }
        checked.map(|rows| (rows, took))
    }

    fn inputs<'a>(&self, tickets: &'a [Ticket<Job>], rows: u32) -> Vec<InputBatch<'a>> {
        let one = |(index, spec): (usize, &TensorSpec)| {
            let parts =
                tickets.iter().filter_map(|t| t.payload.inputs.get(index)).map(AsRef::as_ref).collect();
            let first = tickets.first().and_then(|ticket| ticket.payload.shapes.get(index));
            let mut shape = first.cloned().unwrap_or_default();
            if let (true, Some(batch)) = (self.spec.batched, shape.first_mut()) {
                *batch = i64::from(rows);
            }
            InputBatch::whole(spec.datatype, shape, parts)
        };
        self.spec.inputs.iter().enumerate().map(one).collect()
    }

    fn log_failure(&self, error: &BackendError) {
        let (model, version) = (self.spec.name.as_str(), self.spec.version.number());
        if self.broken.swap(true, Ordering::Relaxed) {
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

/// What a lane gets from the queue.
struct Work {
    dropped: Vec<Dropped<Job>>,
    batch: Option<Batch<Job>>,
}

fn answer_dropped(dropped: Vec<Dropped<Job>>) {
    for Dropped { ticket, .. } in dropped {
        ticket.payload.answer(Err(JobError::Expired));
    }
}

fn send_error(tickets: Vec<Ticket<Job>>, error: &BackendError) {
    for ticket in tickets {
        ticket.payload.answer(Err(JobError::Failed(error.summary.clone())));
    }
}
