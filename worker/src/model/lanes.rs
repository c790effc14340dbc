//! The queue of one model version and the threads that run it.
//!
//! A lane is a long-lived std thread: it asks the batcher for work, writes the batch together, runs it and sends each
//! request its rows. Lanes of one version share a queue. Requests come from `infer`, which awaits the reply; a reply
//! that nobody awaits any more takes its ticket out of the queue. Which requests run together is `weir-batching`'s
//! decision alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use weir_batching::{Batch, Batcher, Cancel, Dropped, Limits, Next, Refused, Ticket, Turn};

use crate::{
    backend::{Backend, BackendError, InputBatch},
    clock::Clock,
    model::{ModelSpec, lanes::rows::BatchRows},
    telemetry::ReplicaMetrics,
};

mod rows;

/// A request in the queue.
#[derive(Debug)]
pub struct Job {
    /// Raw rows, one tensor per input, in the model's order.
    pub inputs: Vec<Bytes>,
    /// Their shapes, the batch dimension included.
    pub shapes: Vec<Vec<i64>>,
    /// When it was admitted, on the lanes' clock.
    pub arrived: Duration,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, JobError>>,
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A request that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its rows of every output, in the model's order: shape and raw elements.
    pub outputs: Vec<(Vec<i64>, Bytes)>,
    /// Time in the queue.
    pub waited: Duration,
    /// Time of the forward pass that it was part of.
    pub forward: Duration,
}

/// A request that was admitted and has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Its deadline passed while it waited: it was not started.
    #[error("the deadline passed in the queue")]
    Expired,
    /// Its forward pass failed; the text is for the client.
    #[error("{0}")]
    Failed(String),
}

/// What lanes are made from.
pub struct LaneSettings {
    /// What the model takes and gives.
    pub spec: Arc<ModelSpec>,
    /// Batching limits.
    pub limits: Limits,
    /// Threads; at least 1.
    pub lanes: usize,
    /// Their time.
    pub clock: Clock,
    /// Their metrics.
    pub metrics: ReplicaMetrics,
}

/// The queue and threads of one model version. Dropping it lets the threads finish what is queued and end.
pub struct Lanes {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    spec: Arc<ModelSpec>,
    backend: Arc<dyn Backend>,
    clock: Clock,
    metrics: ReplicaMetrics,
    queue: Mutex<Queue>,
    /// Notified once per admitted ticket and when the queue closes.
    work: Condvar,
    /// Copy of the batcher's count for readers without the lock. Relaxed: it only informs.
    queued_rows: AtomicU64,
    max_queued_rows: u64,
    /// Set by the first failure of the model's contract, so that it is logged in full only once.
    broken: AtomicBool,
}

struct Queue {
    batcher: Batcher<Job>,
    closed: bool,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(settings: LaneSettings, backend: Arc<dyn Backend>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { batcher: Batcher::new(settings.limits), closed: false }),
            max_queued_rows: u64::from(settings.limits.max_queued_rows),
            spec: settings.spec,
            backend,
            clock: settings.clock,
            metrics: settings.metrics,
            work: Condvar::new(),
            queued_rows: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        // Made before the threads: if one cannot be started, dropping this ends the others.
        let lanes = Self { shared, threads: Mutex::default() };
        for index in 0..settings.lanes {
            let shared = Arc::clone(&lanes.shared);
            let name = format!("{}-{index}", lanes.shared.spec.name).chars().take(15).collect();
            let thread = std::thread::Builder::new().name(name).spawn(move || shared.run_lane())?;
            lanes.threads.lock().push(thread);
        }
        Ok(lanes)
    }

    /// What the model takes and gives.
    #[must_use]
    pub fn spec(&self) -> &Arc<ModelSpec> {
        &self.shared.spec
    }

    /// Rows waiting.
    #[must_use]
    pub fn queued_rows(&self) -> u64 {
        self.shared.queued_rows.load(Ordering::Relaxed)
    }

    /// Whether a request would be refused now for want of room, whatever its size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued_rows() >= self.shared.max_queued_rows
    }

    /// Queues a request.
    ///
    /// # Errors
    /// As [`Batcher::admit`]; the ticket comes back with its reply channel.
    pub fn admit(&self, ticket: Ticket<Job>) -> Result<(), Refused<Job>> {
        let now = self.shared.clock.now();
        {
            let mut queue = self.shared.queue.lock();
            let admitted = queue.batcher.admit(now, ticket);
            self.shared.queued_rows.store(queue.batcher.queued_rows(), Ordering::Relaxed);
            admitted?;
        }
        self.shared.work.notify_one();
        Ok(())
    }

    /// Lets the threads finish what is queued and waits for them. Blocks.
    pub fn close(&self) {
        self.shared.close();
        for thread in self.threads.lock().drain(..) {
            // A lane that panicked outside a forward pass has nothing left to tell.
            let _ = thread.join();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("spec", &self.shared.spec).finish_non_exhaustive()
    }
}

impl Shared {
    fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
    }

    fn run_lane(&self) {
        let _scope = self.backend.enter_lane();
        while let Some((dropped, batch)) = self.take() {
            answer_dropped(dropped);
            if let Some(batch) = batch {
                let taken = self.clock.now();
                self.run_batch(batch, taken);
                self.metrics.record_batch(self.clock.now().saturating_sub(taken));
            }
        }
    }

    /// Waits for work. `None` once the queue is closed and empty.
    fn take(&self) -> Option<(Vec<Dropped<Job>>, Option<Batch<Job>>)> {
        let mut queue = self.queue.lock();
        loop {
            let now = self.clock.now();
            let Turn { dropped, next } = queue.batcher.next(now);
            self.queued_rows.store(queue.batcher.queued_rows(), Ordering::Relaxed);
            match next {
                Next::Run(batch) => return Some((dropped, Some(batch))),
                _ if !dropped.is_empty() => return Some((dropped, None)),
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
        let inputs = self.inputs(tickets, rows);
        let started = self.clock.now();
        let result = catch_unwind(AssertUnwindSafe(|| self.backend.forward(&inputs)))
            .unwrap_or_else(|_| Err(BackendError::new("the forward pass panicked")));
        let took = self.clock.now().saturating_sub(started);
        self.metrics.record_forward(rows, took);
        let checked = result.and_then(|outputs| BatchRows::check(&self.spec, outputs, rows));
        if let Err(error) = &checked {
            self.log_failure(error);
        }
        checked.map(|rows| (rows, took))
    }

    fn inputs<'a>(&self, tickets: &'a [Ticket<Job>], rows: u32) -> Vec<InputBatch<'a>> {
        let one = |(index, spec): (usize, &weir_config::model::TensorSpec)| {
            let parts =
                tickets.iter().filter_map(|t| t.payload.inputs.get(index)).map(AsRef::as_ref).collect();
            let first = tickets.first().and_then(|ticket| ticket.payload.shapes.get(index));
            let mut shape = first.cloned().unwrap_or_default();
            if let (true, Some(batch)) = (self.spec.batched, shape.first_mut()) {
                *batch = i64::from(rows);
            }
            InputBatch { datatype: spec.datatype, shape, parts }
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

fn answer_dropped(dropped: Vec<Dropped<Job>>) {
    for Dropped { ticket, .. } in dropped {
        // Fails for a cancelled ticket: nobody is there.
        let _ = ticket.payload.reply.send(Err(JobError::Expired));
    }
}

fn send_error(tickets: Vec<Ticket<Job>>, error: &BackendError) {
    for ticket in tickets {
        let _ = ticket.payload.reply.send(Err(JobError::Failed(error.summary.clone())));
    }
}

#[cfg(test)]
mod tests;
