//! The queue of one model version and the threads that run it.
//!
//! This is the side that `infer` sees: it admits a job and awaits the reply. A reply that nobody awaits any more takes
//! its ticket out of the queue. What a thread does with a batch is in `lane`; which requests run together is
//! `weir-batching`'s decision alone.

use std::{
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
use weir_batching::{
    Cancel,
    old::{Batcher, Limits, Refused, Ticket},
};
use weir_protocol::Refusal;

use self::lane::{Queue, Shared};
use super::ModelSpec;
use crate::{backend::Backend, clock::Clock, statistics::Statistics, telemetry::ReplicaMetrics};

mod lane;
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

impl Job {
    /// Answers the request. Its inputs go first: who has the answer finds their memory given back.
    fn answer(self, result: Result<Done, JobError>) {
        drop(self.inputs);
        // Fails when nobody waits any more.
        let _ = self.reply.send(result);
    }
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
    /// Their statistics.
    pub statistics: Arc<Statistics>,
}

/// The queue and threads of one model version. Dropping it lets the threads finish what is queued and end.
pub struct Lanes {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
            statistics: settings.statistics,
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
        // Without the lock while there is room, which is nearly always.
        self.queued_rows() >= self.shared.max_queued_rows && {
            let mut queue = self.shared.queue.lock();
            let is_full = queue.batcher.is_full(self.shared.clock.now());
            self.shared.queued_rows.store(queue.batcher.queued_rows(), Ordering::Relaxed);
            is_full
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// As [`Batcher::admit`], and [`Refusal::NotReady`] after [`Self::close`]; the ticket comes back.
    pub fn admit(&self, ticket: Ticket<Job>) -> Result<(), Refused<Job>> {
        let now = self.shared.clock.now();
        {
            let mut queue = self.shared.queue.lock();
            if queue.closed {
                return Err(Refused { refusal: Refusal::NotReady, ticket });
            }
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

#[cfg(test)]
pub(crate) mod tests;
