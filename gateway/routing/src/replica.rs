//! One model version on one endpoint: the thing that routing picks.
//!
//! Owns the counts that policies read. Immutable but for [`ReplicaLive`], whose atomics survive rebuilds of the
//! directory. Built by the directory, chosen by policies, counted by leases.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use weir_protocol::{Lifecycle, ModelName, Version, load::ReplicaLoad};

use crate::Endpoint;

/// Bounds of a weight: beyond three orders of magnitude either way a weight says "nearly nothing" or "nearly all".
const WEIGHT_BOUNDS: (f64, f64) = (0.001, 1000.0);

/// One model version on one endpoint.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The worker that holds it.
    pub endpoint: Arc<Endpoint>,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// Whether the worker itself calls it by that number. A foreign worker without version numbers counts as version
    /// 1, and the version is left out of what is sent to it.
    pub versioned: bool,
    /// Where the worker last said it is in its life.
    pub state: Lifecycle,
    /// Counts that survive rebuilds.
    pub live: Arc<ReplicaLive>,
    weight: f64,
}

/// A model version as a worker's report, or an earlier directory, has it.
pub(crate) struct Held<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) version: Version,
    pub(crate) versioned: bool,
    pub(crate) state: Lifecycle,
}

impl<'a> From<&'a ReplicaLoad> for Held<'a> {
    fn from(load: &'a ReplicaLoad) -> Self {
        let ReplicaLoad { model, version, versioned, state, .. } = load;
        Self { model, version: *version, versioned: *versioned, state: *state }
    }
}

impl<'a> From<&'a Replica> for Held<'a> {
    fn from(replica: &'a Replica) -> Self {
        let Replica { model, version, versioned, state, .. } = replica;
        Self { model, version: *version, versioned: *versioned, state: *state }
    }
}

impl Replica {
    /// A replica with the weight of its endpoint, brought into bounds.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        Held { model, version, versioned, state }: Held<'_>,
        live: Arc<ReplicaLive>,
    ) -> Self {
        // `max` before `min`: what is not a number becomes the lower bound instead of poisoning every comparison.
        let weight = endpoint.spec.weight.max(WEIGHT_BOUNDS.0).min(WEIGHT_BOUNDS.1);
        Self { endpoint, model: model.clone(), version, versioned, state, live, weight }
    }

    /// Share of traffic relative to its peers, 0.001 to 1000.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

/// Counts of one replica. Every access is relaxed: each number stands alone, nothing else is published through it,
/// and a policy that reads one a moment late makes a slightly worse choice, never a wrong one. What must not be
/// missed (drain) is counted at the endpoint.
#[derive(Debug, Default)]
#[repr(align(64))] // one cache line each: replicas must not slow each other down
pub struct ReplicaLive {
    in_flight: AtomicU64,
    sent: AtomicU64,
    turn: AtomicU64,
}

impl ReplicaLive {
    /// Leases held on it: requests chosen for it and not yet finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Requests ever handed to a connection for it.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Virtual time of its last turn in round robin.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Relaxed)
    }

    /// Moves its last turn from `seen` to `turn`; false when another pick moved it first.
    pub(crate) fn claim_turn(&self, seen: u64, turn: u64) -> bool {
        self.turn.compare_exchange(seen, turn, Relaxed, Relaxed).is_ok()
    }

    /// Moves its last turn on by `stride`, whatever it is by now.
    pub(crate) fn charge_turn(&self, stride: u64) {
        self.turn.fetch_add(stride, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Directory,
        fixture::{pool, serving, weighted},
    };

    #[test]
    fn weights_outside_the_bounds_count_as_the_nearer_bound() {
        let cases = [
            (2.5, 2.5),
            (1e9, 1000.0),
            (f64::INFINITY, 1000.0),
            (1e-9, 0.001),
            (0.0, 0.001),
            (-3.0, 0.001),
            (f64::NAN, 0.001),
        ];
        for (given, taken) in cases {
            let directory = serving(&Directory::default(), &weighted(&[given]));
            assert_eq!(pool(&directory).replicas[0].weight(), taken, "{given}");
        }
    }
}
