//! One registered worker as the gateway sees it: what the operator said of it and what was observed since.
//!
//! Owns the switches that take a worker out of routing (health, drain, its own word) and the counts that make a
//! drain airtight. Knows no model and no policy. The registry creates endpoints and turns the switches; picks
//! read them, leases count.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use weir_protocol::{ModelName, WorkerId};

use crate::Health;

/// Free words on a worker that a route can ask for: key to value.
pub type Labels = BTreeMap<String, String>;

/// What a worker speaks beside the inference protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// A Weir worker: it reports its load and understands what gateways add to a request.
    Weir,
    /// Any other server of the protocol: it is asked what clients may ask, and gets what clients would send.
    Foreign,
}

impl EndpointKind {
    /// The word for it, as in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Foreign => "oip",
        }
    }
}

/// Where a worker listens for gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcListener {
    /// The address to connect to.
    pub address: SocketAddr,
    /// `host:port` for `:authority` towards the worker.
    pub authority: String,
}

/// What the operator registered.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSpec {
    /// The worker's name, unique in a fleet.
    pub id: WorkerId,
    /// What it speaks.
    pub kind: EndpointKind,
    /// Where it listens for REST.
    pub address: SocketAddr,
    /// `host:port` for the Host header towards the worker.
    pub authority: String,
    /// Where it listens for gRPC; of Weir's workers usually the same as `address`. `None` = it gets no gRPC calls.
    pub grpc: Option<GrpcListener>,
    /// What a foreign worker serves when it cannot say so itself.
    pub models: Vec<ModelName>,
    /// Share of traffic relative to other workers: 0.001 to 1000, usually 1. Routing takes anything outside as
    /// the nearer bound, and what is not a number as the lower one.
    pub weight: f64,
    /// Words that a route can ask for.
    pub labels: Labels,
}

impl EndpointSpec {
    /// Whether both are about the same process, so that what was observed of it still holds: a worker of the same kind
    /// at the same address. Whether they have the same name is for the caller to know.
    #[must_use]
    pub fn same_process(&self, other: &Self) -> bool {
        self.address == other.address && self.kind == other.kind
    }
}

/// A registered worker: its registration and its live state, which outlives changes to the registration.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// What the operator registered.
    pub spec: EndpointSpec,
    /// What was observed since; shared by every registration of the same worker and process.
    pub live: Arc<EndpointLive>,
}

impl Endpoint {
    /// A worker nothing is known of yet.
    #[must_use]
    pub fn new(spec: EndpointSpec) -> Self {
        Self { spec, live: Arc::default() }
    }
}

/// Switches and counts of one worker, safe to read and turn from any thread. Starts as [`Health::Unknown`],
/// accepting, not draining.
///
/// **Drain.** A pick first counts itself in and then looks at the drain switch once more; a drain first turns the
/// switch and then looks at the counts. All four steps are sequentially consistent, so at least one side sees the
/// other: either the pick backs off, or the drain sees it counted. Once [`Self::dispatching`] has been 0 while the
/// switch is on, no request will be handed to the worker until the switch is turned off. With any weaker ordering
/// both could read the old value, and a request could reach a worker that was reported as drained.
#[derive(Debug)]
#[repr(align(64))] // one cache line each: workers must not slow each other down
pub struct EndpointLive {
    in_flight: AtomicU64,
    dispatching: AtomicU64,
    health: AtomicU8,
    draining: AtomicBool,
    accepting: AtomicBool,
}

impl Default for EndpointLive {
    fn default() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            dispatching: AtomicU64::new(0),
            health: AtomicU8::new(Health::Unknown as u8),
            draining: AtomicBool::new(false),
            accepting: AtomicBool::new(true),
        }
    }
}

impl EndpointLive {
    /// What probes say of it.
    #[must_use]
    pub fn health(&self) -> Health {
        // Relaxed: a hint that stands alone. A pick that misses a change by a moment meets a connect failure,
        // which is repeated elsewhere.
        Health::from_code(self.health.load(Relaxed))
    }

    /// Sets what probes say of it.
    pub fn set_health(&self, health: Health) {
        self.health.store(health as u8, Relaxed);
    }

    /// Whether an operator is taking it out of service.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// Begins or ends a drain. No request is newly handed to the worker once this has been set and
    /// [`Self::dispatching`] was then seen at 0.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, SeqCst);
    }

    /// Whether the worker takes new requests, by its own report.
    #[must_use]
    pub fn accepting(&self) -> bool {
        self.accepting.load(Relaxed)
    }

    /// Sets what the worker's report says about taking new requests.
    pub fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Relaxed);
    }

    /// Leases held on all its replicas: requests chosen for it and not yet finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    /// Those of [`Self::in_flight`] that are not yet handed to a connection.
    #[must_use]
    pub fn dispatching(&self) -> u64 {
        self.dispatching.load(SeqCst)
    }

    /// Counts a request in; the caller then looks at [`Self::draining`] and calls the two below even if it backs
    /// off.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, SeqCst);
        self.dispatching.fetch_add(1, SeqCst);
    }

    /// The request was handed over or will never be.
    pub(crate) fn end_dispatch(&self) {
        self.dispatching.fetch_sub(1, SeqCst);
    }

    /// The request is over.
    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }
}
