//! One model version on this worker: its state, its counters, its metrics, its statistics.
//!
//! It stays while the version is loaded, unloaded and loaded again, and with it what was counted. Every request looks
//! at the state; loader threads and shutdown change it. Owned by `store`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Condvar, Mutex};
use weir_config::{ModelConfig, model::BackendConfig};
use weir_protocol::{Bytes, ModelName, Version, load::ReplicaLoad};

use super::lifecycle::{Event, State};
use crate::{
    statistics::Statistics,
    telemetry::{ReplicaMetrics, Telemetry},
};

/// A version of a model, loaded or not.
pub struct Replica {
    /// Id in load reports, from 1.
    pub id: u32,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// What is recorded about it.
    pub metrics: ReplicaMetrics,
    /// What it has done, for clients that ask.
    pub statistics: Arc<Statistics>,
    // What the disk says; both only inform.
    size: AtomicU64,
    max_batch_size: AtomicU32,
    /// The model.toml that it was last loaded with.
    config: ArcSwapOption<ModelConfig>,
    state: ArcSwap<State>,
    /// Held while the state is replaced, so that two events cannot both start from the same state.
    changing: Mutex<()>,
    /// Only informs, so its order against anything else does not matter: relaxed.
    arrivals: AtomicU64,
    in_flight: AtomicU64,
    /// Held while nobody is in flight is told or looked for.
    idle: (Mutex<()>, Condvar),
}

impl Replica {
    /// A version that is not loaded. `max_batch_size` is what model.toml says, at least 1.
    #[must_use]
    pub fn new(
        id: u32,
        (model, version): (ModelName, Version),
        (size, max_batch_size): (Bytes, u32),
        telemetry: &Telemetry,
    ) -> Self {
        let metrics = telemetry.replica(&model, version);
        Self {
            id,
            model,
            version,
            metrics,
            statistics: Arc::default(),
            size: AtomicU64::new(size.0),
            max_batch_size: AtomicU32::new(max_batch_size),
            config: ArcSwapOption::empty(),
            state: ArcSwap::default(),
            changing: Mutex::new(()),
            arrivals: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            idle: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Takes over what the disk says now of a version that is not in memory.
    pub fn describe(&self, size: Bytes, max_batch_size: u32) {
        self.size.store(size.0, Ordering::Relaxed);
        self.max_batch_size.store(max_batch_size, Ordering::Relaxed);
    }

    /// Notes the model.toml that it is loaded with: the file may change while the version serves.
    pub fn loaded_with(&self, config: Arc<ModelConfig>) {
        self.config.store(Some(config));
    }

    /// The model.toml that it was last loaded with.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ModelConfig>> {
        self.config.load_full()
    }

    /// Memory that the loaded model takes, by the size of its file; zero when it is not loaded.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        if self.state.load().queue().is_none() {
            return Bytes(0);
        }
        match self.config().as_deref().map(|config| &config.backend) {
            Some(BackendConfig::Synthetic(section)) => section.memory,
            Some(BackendConfig::Torch) | None => Bytes(self.size.load(Ordering::Relaxed)),
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Applies an event. One that is not legal in the present state is logged and changes nothing.
    pub fn advance(&self, event: Event) {
        let _guard = self.changing.lock();
        match self.state.load().on(event) {
            Ok(next) => self.state.store(Arc::new(next)),
            Err(error) => tracing::warn!(model = %self.model, version = %self.version, %error, "ignored"),
        }
    }

    /// Counts a request in until the guard is dropped; `None` when the version does not serve (any more).
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(Arc::clone(self));
        // Counted before the state is looked at, as `wait_idle` looks after the state was changed: so one of the two
        // sees the other, and the queue is not closed under a request that was let in.
        fence(Ordering::SeqCst);
        if !matches!(**self.state.load(), State::Serving(_)) {
            return None;
        }
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        Some(guard)
    }

    /// Waits until no request is in flight, at most `limit`. True when none is. Blocks.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        fence(Ordering::SeqCst);
        let (lock, idle) = &self.idle;
        let busy = |(): &mut ()| self.in_flight.load(Ordering::SeqCst) > 0;
        !idle.wait_while_for(&mut lock.lock(), busy, limit).timed_out()
    }

    /// Its lines in the load report.
    #[must_use]
    pub fn load(&self) -> ReplicaLoad {
        let state = self.state();
        let reason = if let State::Failed(reason) = &*state { Some(reason.to_string()) } else { None };
        ReplicaLoad {
            id: self.id,
            model: self.model.clone(),
            version: self.version,
            versioned: true,
            state: state.lifecycle(),
            reason,
            device: 0,
            size: Bytes(self.size.load(Ordering::Relaxed)),
            max_batch_size: state
                .queue()
                .map_or_else(|| self.max_batch_size.load(Ordering::Relaxed), |queue| queue.spec().max_rows),
            queued: state.queue().map_or(0, |queue| queue.queued_rows()),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            arrivals: self.arrivals.load(Ordering::Relaxed),
            estimate: state.queue().and_then(|queue| queue.estimate()),
        }
    }
}

/// A request in flight on a replica. Dropping it counts it out, however the request ended.
pub struct InFlight(Arc<Replica>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            let (lock, idle) = &self.0.idle;
            // Or the notice could fall between another thread's look at the count and its wait.
            drop(lock.lock());
            idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
