//! What can change the registry: the only way in is one of these, over the writer's channel.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weir_config::GatewayConfig;
use weir_protocol::{Bytes, LoadReport, WorkerId};
use weir_routing::Endpoint;

/// One change, for the writer. Those with a `reply` are answered once requests see the change.
pub enum Event {
    /// A configuration that was checked and is to serve.
    Apply {
        /// The configuration.
        config: Arc<GatewayConfig>,
        /// Gets its generation.
        reply: oneshot::Sender<u64>,
    },
    /// A worker answered its probe.
    Report {
        /// The worker's registered name.
        worker: WorkerId,
        /// Where it was probed; a report from an address that is no longer registered is dropped.
        address: SocketAddr,
        /// What it said.
        report: Arc<LoadReport>,
    },
    /// A probe failed.
    ProbeFailed {
        /// The worker's registered name.
        worker: WorkerId,
        /// Where it was probed.
        address: SocketAddr,
        /// Why.
        failure: ProbeFailure,
    },
    /// A request could not connect.
    ConnectFailed {
        /// The worker's registered name.
        worker: WorkerId,
    },
    /// An operator takes a worker out of service or back in.
    Drain {
        /// The worker's registered name.
        worker: WorkerId,
        /// Out (true) or in (false).
        draining: bool,
        /// Gets the worker, or nothing when the name is not registered.
        reply: oneshot::Sender<Option<Arc<Endpoint>>>,
    },
}

/// Why a probe failed. Shown to operators by `/v1/workers` and in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// No connection, or it broke.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Where it was probed.
        address: SocketAddr,
        /// What the system said, innermost cause last.
        cause: String,
    },
    /// No complete answer in time.
    #[error("no answer within {}", humantime_ms(.0))]
    TimedOut(Duration),
    /// The worker does not trust this gateway.
    #[error(
        "the worker does not trust this gateway (403): add the gateway's address to [gateway] trusted in \
         worker.toml, or give both the same token"
    )]
    Forbidden,
    /// Some other status: it may not be a Weir worker at all.
    #[error("GET /v2/load answered {0}: is this a Weir worker? Another OIP server needs kind = \"oip\"")]
    Status(u16),
    /// A foreign worker does not know what every server of the protocol knows.
    #[error("GET /v2/health/ready answered {0}: is this an Open Inference Protocol server?")]
    NotOip(u16),
    /// A foreign worker does not list what it serves, and neither does the operator.
    #[error(
        "POST /v2/repository/index answered {0}: a worker without it needs models = [..], what it serves"
    )]
    NoIndex(u16),
    /// A foreign worker's index cannot be read.
    #[error("POST /v2/repository/index answered something that is not an index: {0}")]
    NotAnIndex(String),
    /// The answer is not a load report.
    #[error("GET /v2/load answered something that is not a load report: {0}")]
    NotAReport(String),
    /// The answer is larger than a report may be.
    #[error("the answer is larger than {0}")]
    TooLarge(Bytes),
    /// The report is of another format.
    #[error("the load report has format {found}, this gateway reads format {expected}")]
    Format {
        /// The report's.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A request could not connect to the worker.
    #[error("a request could not connect to the worker")]
    ConnectFailed,
}

fn humantime_ms(limit: &Duration) -> String {
    format!("{} ms", limit.as_millis())
}
