//! The in-flight guard on a replica: counted in when picked, counted out on drop, whatever happened between.
//!
//! Owns the pick's half of the drain protocol (see [`crate::EndpointLive`]). Made by pools only; the proxy holds it
//! until the last byte of the answer is through.

use std::sync::Arc;

use weir_protocol::{ModelName, Version};

use crate::{Endpoint, Replica};

/// One request's claim on a replica. Dropping it counts the request out, at any stage.
#[derive(Debug)]
#[must_use = "dropping a lease at once counts the request out before it was sent"]
pub struct Lease {
    replica: Replica,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Picked, not yet handed to a connection: a drain waits for it.
    Dispatching,
    /// The worker has it.
    Sent,
}

impl Lease {
    /// Counts a request in on `replica`; `None` when a drain began before it was counted, and then nothing is
    /// left counted.
    pub(crate) fn take(replica: &Replica) -> Option<Self> {
        let lease = Self { replica: replica.clone(), phase: Phase::Dispatching };
        lease.replica.live.begin();
        lease.replica.endpoint.live.begin();
        // After counting in, never before: see `EndpointLive`.
        (!lease.replica.endpoint.live.draining()).then_some(lease)
    }

    /// The worker to send to.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.replica.endpoint
    }

    /// The model that was picked.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        &self.replica.model
    }

    /// The version that was picked.
    #[must_use]
    pub fn version(&self) -> Version {
        self.replica.version
    }

    /// Whether the worker itself calls the model by that version.
    #[must_use]
    pub fn versioned(&self) -> bool {
        self.replica.versioned
    }

    /// Records that the request was handed to a connection: a drain need not wait for it to be sent any more.
    /// Calling it again changes nothing.
    pub fn mark_sent(&mut self) {
        if self.phase == Phase::Dispatching {
            self.phase = Phase::Sent;
            self.replica.live.count_sent();
            self.replica.endpoint.live.end_dispatch();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let endpoint = &self.replica.endpoint.live;
        if self.phase == Phase::Dispatching {
            endpoint.end_dispatch();
        }
        endpoint.end();
        self.replica.live.end();
    }
}

#[cfg(test)]
mod tests;
