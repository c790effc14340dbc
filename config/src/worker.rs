//! `worker.toml`: one worker process.

mod read;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use weir_protocol::{Bytes, WorkerId};

use crate::{
    Problems,
    gateway::Secret,
    outside::{Outside, System},
    reader,
};

/// A checked `worker.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// `[worker]`
    pub worker: WorkerSection,
    /// `[gateway]`: who may see internal headers and the load report.
    pub gateway: TrustSection,
    /// `[limits]`
    pub limits: WorkerLimits,
    /// `[cpu]`
    pub cpu: CpuSection,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSection {
    /// The name that gateways and answers show; required.
    pub name: WorkerId,
    /// Default `127.0.0.1:9001`.
    pub listen: SocketAddr,
    /// The model repository; a relative path starts at the file's folder; required.
    pub repository: PathBuf,
    /// Threads of the HTTP front; default 1 per 4 cores granted, at least 1.
    pub threads: usize,
    /// How long accepted requests may take once a stop was asked for; default 30 s.
    pub drain_timeout: Duration,
    /// Whether clients may load and unload models; default false.
    pub control: bool,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSection {
    /// Networks whose peers are trusted; default `["127.0.0.0/8", "::1/128"]`.
    pub trusted: Vec<IpNet>,
    /// A peer elsewhere is trusted when its `weir-token` equals this.
    pub token: Option<Secret>,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Largest request body; 413 above; default 1 GiB.
    pub body_bytes: Bytes,
    /// Request bodies in hand, all together; 503 `memory` above; at least `body_bytes`; default 4 GiB.
    pub body_total_bytes: Bytes,
    /// How many times its own size a compressed body may inflate to, once it is above 1 MiB; 413 above; default 100.
    pub inflate_factor: u32,
    /// Deepest JSON nesting; default 32.
    pub json_depth: usize,
    /// Longest silence of a client while it sends its body; 408 after; default 30 s.
    pub body_timeout: Duration,
    /// Requests in flight in all; 503 `queue-full` above; default 65,536.
    pub in_flight: usize,
    /// Requests of one gRPC stream at work at a time; further ones are not read until one is answered; default 32.
    pub stream_window: usize,
}

/// `[cpu]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSection {
    /// Threads that one forward pass may use; default 1.
    pub intra_op_threads: usize,
    /// Batches that run at the same time, of all models together, each on a thread of its own; 1 to 1,024, default the
    /// cores granted divided by `intra_op_threads`, at least 1.
    pub lanes: usize,
    /// Which of the models with waiting requests a free lane serves; default [`TurnOrder::Arrival`].
    pub turn_order: TurnOrder,
    /// Memory that models may use; default the cgroup's limit, else physical memory. `None` = find out at start.
    pub memory: Option<Bytes>,
}

/// Whose turn it is when requests of several models wait for a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TurnOrder {
    /// `"arrival"`: the model whose oldest request came first.
    #[default]
    Arrival,
    /// `"slo"`: as `Arrival`, but a model's requests count as if they had come later by a tenth of its `default_timeout`.
    Slo,
}

impl WorkerConfig {
    /// Parses and checks the text of a `worker.toml`; `file` is for messages and for resolving relative paths.
    ///
    /// # Errors
    /// Every problem found, in order of position.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        Self::parse_in(text, file, &System)
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    /// As [`Self::parse`]; a file that cannot be read is one problem at 1:1.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        Self::parse(&reader::text_of(file)?, file)
    }

    pub(crate) fn parse_in(text: &str, file: &Path, outside: &dyn Outside) -> Result<Self, Problems> {
        reader::read(text, file, outside, read::worker)
    }
}

#[cfg(test)]
mod tests;
