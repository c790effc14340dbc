//! The lanes of the device: long-lived threads that run the batches of all models, and the queues they take them from.
//!
//! A model version gets a [`Queue`] here; `infer` admits jobs to it and awaits the replies. `handover` is where the two
//! sides meet, `batch` what a lane does with a batch, `rows` how its outputs are cut. Which requests run together, and
//! whose turn it is, is `weir-batching`'s decision alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use weir_batching::{DeviceSettings, Dropped, Ended, QueueSettings};

use self::{
    handover::{Bed, Handover},
    job::answer_dropped,
};
pub use self::{
    job::{Done, Job, JobError, Part},
    queue::Queue,
};
use crate::{
    backend::{self, Backend},
    clock::Clock,
    model::ModelSpec,
    statistics::Statistics,
    telemetry::ReplicaMetrics,
};

mod assemble;
mod batch;
mod handover;
mod job;
mod queue;
mod rows;

/// What lanes know of a model version: what runs it, and where that is written down.
pub struct Served {
    spec: Arc<ModelSpec>,
    backend: Arc<dyn Backend>,
    metrics: ReplicaMetrics,
    statistics: Arc<Statistics>,
    /// Set by the first failure of the model's contract, so that it is logged in full only once.
    broken: AtomicBool,
}

impl Served {
    /// A version that takes and gives what `spec` says, run by `backend`.
    #[must_use]
    pub fn new(
        spec: Arc<ModelSpec>,
        backend: Arc<dyn Backend>,
        metrics: ReplicaMetrics,
        statistics: Arc<Statistics>,
    ) -> Self {
        Self { spec, backend, metrics, statistics, broken: AtomicBool::new(false) }
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// The threads of the device. Dropping it lets them finish what is queued and end.
pub struct Lanes {
    shared: Arc<Shared>,
    count: u32,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What lanes and queues share.
struct Shared {
    handover: Handover<Job>,
    clock: Clock,
}

impl Lanes {
    /// Starts the threads, `lane-0` and on.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(settings: DeviceSettings, intra_op_threads: usize, clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { handover: Handover::new(settings), clock });
        // Made before the threads: if one cannot be started, dropping this ends the others.
        let lanes = Self { shared, count: settings.lanes, threads: Mutex::default() };
        for index in 0..settings.lanes {
            let shared = Arc::clone(&lanes.shared);
            let run = move || {
                let _scope = backend::enter_lane(intra_op_threads);
                shared.run_lane();
            };
            let thread = std::thread::Builder::new().name(format!("lane-{index}")).spawn(run)?;
            lanes.threads.lock().push(thread);
        }
        Ok(lanes)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Opens a queue for a model version.
    #[must_use]
    pub fn add(&self, served: Served, settings: QueueSettings) -> Queue {
        let id = self.shared.handover.add(settings);
        Queue::new(Arc::clone(&self.shared), id, served)
    }

    /// Refuses what comes from now on, lets the threads finish what is queued and waits for them. Blocks.
    pub fn close(&self) {
        self.shared.handover.end();
        for thread in self.threads.lock().drain(..) {
            // A lane catches what panics, so there is nothing left to tell.
            let _ = thread.join();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.handover.end();
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Shared {
    /// A lane thread, from its start to its end. It outlives whatever a batch does, panics included: the other models'
    /// requests need it.
    fn run_lane(&self) {
        let (bed, mut ended) = (Bed::default(), None);
        while let Some(work) = self.handover.take(&bed, || self.clock.now(), ended.take()) {
            self.answer(work.dropped);
            ended = work.batch.map(|batch| {
                let id = batch.id;
                let run = catch_unwind(AssertUnwindSafe(|| batch::run(batch, self.clock)));
                let how = run.unwrap_or_else(|_| {
                    tracing::error!("a lane panicked; the requests of its batch got no answer");
                    Ended::Failed
                });
                (id, how)
            });
        }
    }

    /// Tells those that left a queue without running.
    fn answer(&self, dropped: Vec<Dropped<Job>>) {
        let now = self.clock.now();
        dropped.into_iter().for_each(|dropped| answer_dropped(dropped, now));
    }
}

#[cfg(test)]
pub(crate) mod tests;
