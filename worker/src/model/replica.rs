//! One model version on this worker: its state, its counters, its metrics.
//!
//! Every request looks at the state once; the loader thread and shutdown change it. Owned by `store`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_protocol::{Bytes, ModelName, Version, load::ReplicaLoad};

use super::lifecycle::{Event, State};
use crate::telemetry::{ReplicaMetrics, Telemetry};

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
    size: Bytes,
    max_batch_size: u32,
    state: ArcSwap<State>,
    /// Held while the state is replaced, so that two events cannot both start from the same state.
    changing: Mutex<()>,
    // Both only inform, so their order against anything else does not matter: relaxed.
    arrivals: AtomicU64,
    in_flight: AtomicU64,
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
            size,
            max_batch_size,
            state: ArcSwap::default(),
            changing: Mutex::new(()),
            arrivals: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
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

    /// Counts a request in until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
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
            size: self.size,
            max_batch_size: state.lanes().map_or(self.max_batch_size, |lanes| lanes.spec().max_rows),
            queued: state.lanes().map_or(0, |lanes| lanes.queued_rows()),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            arrivals: self.arrivals.load(Ordering::Relaxed),
        }
    }
}

/// A request in flight on a replica. Dropping it counts it out, however the request ended.
pub struct InFlight(Arc<Replica>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
