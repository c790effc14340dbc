//! What the proxy remembers of one request from its first byte to its log line.
//!
//! Everything that must be given back (permit, lease, held bytes) is a guard in here: the context is dropped on
//! every way out, also when a client disappears or a filter panics.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use weir_protocol::{OipError, Priority, Reason, WorkerId};
use weir_routing::{Lease, Permit};

use super::{body::Body, grpc::Exchange, names::Asked};
use crate::registry::{OpenRequest, Snapshot};

/// State of one request. Created when its header arrives, dropped after `logging`.
pub struct Context {
    /// When the header had arrived.
    pub(super) arrived: Instant,
    /// The client's id for this request, else ours.
    pub(super) request_id: String,
    /// When the answer must be complete.
    pub(super) deadline: Deadline,
    /// How urgent the client says that it is, in its header.
    pub(super) priority: Option<Priority>,
    /// The configuration and fleet as one attempt sees them. Taken when the request came, and anew after an attempt
    /// failed: a worker that was away then may be back, and the one that failed may be gone.
    pub(super) snapshot: Arc<Snapshot>,
    /// What belongs to gRPC alone.
    pub(super) grpc: Exchange,
    /// What it asks for, once understood.
    pub(super) asked: Option<Asked>,
    /// Its body, as far as it was read ahead.
    pub(super) body: Body,
    /// Its place among the requests in flight, or among the watches.
    pub(super) permit: Option<Permit>,
    /// Attempts so far and where the next one goes.
    pub(super) attempts: Attempts,
    /// Why there is no result; decides the answer.
    pub(super) failure: Option<OipError>,
    /// Whether the gateway itself answered.
    pub(super) answered_here: bool,
    /// Bytes of the body sent to the worker in this attempt.
    pub(super) body_sent: u64,
    /// Makes a stop wait until this request is answered in full.
    _open: OpenRequest,
}

/// The attempts of one request.
#[derive(Default)]
pub(super) struct Attempts {
    /// How many were begun.
    pub(super) begun: u32,
    /// Workers that were tried and failed or refused.
    pub(super) tried: Vec<WorkerId>,
    /// The attempt under way.
    pub(super) current: Option<Lease>,
    /// Chosen for the next attempt.
    pub(super) next: Option<Lease>,
    /// When the current one had its worker chosen.
    pub(super) started: Option<Instant>,
    /// How long those before it took together.
    pub(super) spent: Duration,
    /// Whether the worker in hand has begun an answer that is no refusal.
    pub(super) answered: bool,
    /// The worker that answered, or the last that was tried.
    pub(super) last: Option<WorkerId>,
}

/// A point in time and who set it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The point in time; `None` for streams whose client named none.
    pub(super) at: Option<Instant>,
    /// Whether the client asked for it (else it is the configured time limit).
    pub(super) from_client: bool,
}

impl Deadline {
    /// Time left, zero when passed; the longest duration there is without a deadline.
    pub(super) fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    /// Time left at `now`, zero when passed.
    pub(super) fn left_at(&self, now: Instant) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }

    /// Whether it is over.
    pub(super) fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The deadline of a stream that arrived then: the client's own, or none.
    pub(super) fn of_stream(arrived: Instant, asked: Option<Duration>) -> Self {
        Self { at: asked.and_then(|limit| arrived.checked_add(limit)), from_client: true }
    }

    /// What to answer when it has passed.
    pub(super) fn missed(&self) -> OipError {
        if self.from_client {
            OipError::new(Reason::Deadline, "the deadline passed before an answer came")
        } else {
            OipError::new(
                Reason::WorkerTimeout,
                "no answer within the gateway's time limit (timeouts.request)",
            )
        }
    }
}

impl Context {
    /// A fresh context over the given view of the fleet.
    pub(super) fn new(snapshot: Arc<Snapshot>, open: OpenRequest) -> Self {
        let arrived = Instant::now();
        let deadline = Deadline { at: Some(arrived + snapshot.config.timeouts.request), from_client: false };
        Self {
            arrived,
            request_id: String::new(),
            deadline,
            priority: None,
            snapshot,
            grpc: Exchange::default(),
            asked: None,
            body: Body::Streaming,
            permit: None,
            attempts: Attempts::default(),
            failure: None,
            answered_here: false,
            body_sent: 0,
            _open: open,
        }
    }

    /// The worker has the request: a drain of it no longer waits for this attempt to be handed over.
    pub(super) fn mark_sent(&mut self) {
        if let Some(lease) = &mut self.attempts.current {
            lease.mark_sent();
        }
    }

    /// Gives back the lease and the permit: the worker is done with the request.
    pub(super) fn release_worker(&mut self) {
        self.attempts.current = None;
        self.attempts.next = None;
        self.permit = None;
    }

    /// Gives back the lease, the permit and the held body.
    pub(super) fn release(&mut self) {
        self.release_worker();
        self.body = Body::Streaming;
    }
}
