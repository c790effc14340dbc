//! One probe of one worker: asks it what its kind can answer, and turns whatever comes back into a report or into
//! one of the failures that an operator can act on.
//!
//! A Weir worker is asked for its load report; what a foreign one is asked is in [`super::foreign`]. Knows no
//! thresholds and no schedule.

use std::time::Duration;

use serde::Deserialize;
use weir_config::gateway::Secret;
use weir_protocol::{Bytes, LoadReport, load::FORMAT};
use weir_routing::{EndpointKind, EndpointSpec};

use super::foreign::Foreign;
use crate::{
    outbound::{Bounds, Call, CallError, Outbound, shortened},
    registry::ProbeFailure,
};

/// Largest report: about 300 bytes a model version, so some 50,000 of them on one worker.
const MAX_REPORT_BYTES: Bytes = Bytes::mib(16);
/// Probes of one worker follow each other.
const IDLE_CONNECTIONS: usize = 1;

/// Probes one worker.
pub(super) struct Fetch {
    outbound: Outbound,
    foreign: Foreign,
}

impl Fetch {
    pub(super) fn new() -> Self {
        Self { outbound: Outbound::new(IDLE_CONNECTIONS), foreign: Foreign::default() }
    }

    /// The worker's report, or why there is none.
    pub(super) async fn report(
        &self,
        worker: &EndpointSpec,
        token: Option<&Secret>,
        limit: Duration,
    ) -> Result<LoadReport, ProbeFailure> {
        let bounds = Bounds { time: limit, bytes: MAX_REPORT_BYTES };
        match worker.kind {
            EndpointKind::Weir => {
                let reply = self.outbound.call(worker, Call::get("/v2/load"), token, bounds).await?;
                match reply.status {
                    200 => parse(&reply.body),
                    403 => Err(ProbeFailure::Forbidden),
                    other => Err(ProbeFailure::Status(other)),
                }
            }
            EndpointKind::Foreign => {
                let asked = self.foreign.report(&self.outbound, worker, bounds);
                // One limit for all that a foreign worker is asked.
                tokio::time::timeout(limit, asked).await.map_err(|_| ProbeFailure::TimedOut(limit))?
            }
        }
    }
}

impl From<CallError> for ProbeFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable { address, cause } => Self::Unreachable { address, cause },
            CallError::TimedOut(limit) => Self::TimedOut(limit),
            CallError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// The part of any report, of whatever format, that says which format it is.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

fn parse(body: &[u8]) -> Result<LoadReport, ProbeFailure> {
    let not_a_report = |error: serde_json::Error| ProbeFailure::NotAReport(shortened(&error.to_string()));
    // The format first: a report of another one may well miss the fields of ours.
    let head: Head = serde_json::from_slice(body).map_err(not_a_report)?;
    if head.format != FORMAT {
        return Err(ProbeFailure::Format { found: head.format, expected: FORMAT });
    }
    serde_json::from_slice(body).map_err(not_a_report)
}
