//! `gateway.toml`: listeners, limits, workers, routes, per-model settings.

mod read;
mod route;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use globset::GlobMatcher;
use weir_protocol::{Bytes, Label, ModelName, Version, WorkerId};

pub use crate::value::Upstream;
use crate::{
    Problems,
    outside::{Outside, System},
    reader,
};

/// A checked `gateway.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// `[gateway]`
    pub gateway: GatewaySection,
    /// `[admin]`
    pub admin: AdminSection,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[health]`
    pub health: Health,
    /// `[[worker]]`, names and addresses unique.
    pub workers: Vec<Worker>,
    /// `[[route]]` in file order: first match wins.
    pub routes: Vec<Route>,
    /// `[[model]]` by name.
    pub models: BTreeMap<ModelName, ModelSection>,
}

/// `[gateway]`: what clients see. Changes to `listen` and `threads` need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySection {
    /// Client listeners, at least one; default `["127.0.0.1:8080"]`.
    pub listen: Vec<SocketAddr>,
    /// Proxy threads; default the number of cores granted.
    pub threads: usize,
    /// Routing policy of models that name none; default [`PolicyName::LeastConnections`].
    pub policy: PolicyName,
    /// Whether models that workers report are routable without being listed; `models = "any"` (default) or `"listed"`.
    pub models: ModelDoor,
    /// One access log line per request; default false.
    pub access_log: bool,
    /// How long in-flight requests may take once a stop was asked for; default 30 s.
    pub drain_timeout: Duration,
    /// How long readiness says no before listeners close, so that what stands in front can look away; default 1 s.
    pub drain_delay: Duration,
    /// Token that workers outside their trusted networks ask for; from the environment or a file.
    pub worker_token: Option<Secret>,
}

/// Which models clients may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelDoor {
    /// Every model that a worker reports.
    Any,
    /// Only those with a `[[model]]` table.
    Listed,
}

/// A routing policy's name (docs/CONFIG.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyName {
    /// `round_robin`
    RoundRobin,
    /// `least_connections`
    LeastConnections,
}

impl PolicyName {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::LeastConnections];

    /// The name in the file, in metrics and in explanations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
        }
    }
}

/// `[admin]`: the operator's listener. A change needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSection {
    /// Default `127.0.0.1:8081`. Outside loopback only with a token.
    pub listen: SocketAddr,
    /// Bearer token asked of every call except `/livez` and `/readyz`; must be set outside loopback.
    pub token: Option<Secret>,
}

/// A secret read from `{ env = "NAME" }` or `{ file = "PATH" }`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: for comparing and sending, never for logs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[limits]`: bounds on what one client or all of them can make the gateway hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body; 413 above; default 1 GiB.
    pub body_bytes: Bytes,
    /// Bodies up to this are held so that an attempt can be repeated elsewhere; larger ones stream; default 16 MiB.
    pub replay_bytes: Bytes,
    /// Held bodies of all requests together; beyond it bodies stream; default 1 GiB.
    pub replay_total_bytes: Bytes,
    /// How much of a body is searched for the name of a model; 400 when it comes later; default 1 MiB.
    pub scan_bytes: Bytes,
    /// Largest header block; 431 above; default 64 KiB.
    pub header_bytes: Bytes,
    /// Most header fields; 431 above; default 128.
    pub header_fields: usize,
    /// Most requests in flight in all; 503 `overloaded` above; default 16,384.
    pub in_flight: usize,
    /// Most gRPC calls that the gateway answers itself for as long as clients like (`Health.Watch`, reflection), in all;
    /// `overloaded` above. Apart from `in_flight`: they must not take the place of inferences. Default 1,024.
    pub watches: usize,
    /// Attempts per request, the first included; 1 to 10, default 3.
    pub attempts: u32,
}

/// `[timeouts]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to a worker; default 1 s.
    pub connect: Duration,
    /// From a request's arrival to the end of its answer, when the client names no deadline; default 60 s.
    pub request: Duration,
    /// Longest silence of a client while it sends its body, and of a worker while it takes one; default 30 s. A worker
    /// that computes may be silent for all of `request`.
    pub idle: Duration,
    /// For the whole body of a request that is held (up to `replay_bytes`); 408 after; default 30 s.
    pub body: Duration,
    /// Longest silence of a worker within a gRPC stream; `request` does not apply to streams; default 10 min.
    pub stream_idle: Duration,
    /// How long an idle keep-alive connection of a client stays open; default 75 s.
    pub keep_alive: Duration,
}

/// `[health]`: active probes of `GET /v2/load` on every worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Between probes of one worker, with up to 10 % jitter; default 250 ms.
    pub interval: Duration,
    /// For one probe; default 1 s.
    pub timeout: Duration,
    /// Failed probes in a row that make a worker unhealthy; default 2.
    pub unhealthy_after: u32,
    /// Good probes in a row that make it healthy again (the first of its life needs one); default 2.
    pub healthy_after: u32,
}

/// `[[worker]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Unique.
    pub name: WorkerId,
    /// `http://host:port` in the file; unique. Host names are resolved when the file is loaded.
    pub address: SocketAddr,
    /// `host:port` as in the file: the Host header towards the worker.
    pub authority: String,
    /// What it is; default [`WorkerKind::Weir`].
    pub kind: WorkerKind,
    /// `grpc_url`; default `url` of a Weir worker. `None` = it speaks no gRPC, as far as the file says.
    pub grpc: Option<Upstream>,
    /// What a worker of kind [`WorkerKind::Oip`] serves when it has no repository index; default none.
    pub models: Vec<ModelName>,
    /// Share of traffic relative to other workers, > 0 up to 1000; default 1.
    pub weight: f64,
    /// Free words that `[[route]]` can ask for.
    pub labels: BTreeMap<String, String>,
}

/// What a registered worker is (docs/CONFIG.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerKind {
    /// `weir`: a worker of this project, which reports its load.
    Weir,
    /// `oip`: any other server of the Open Inference Protocol.
    Oip,
}

impl WorkerKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Weir, Self::Oip];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Oip => "oip",
        }
    }
}

/// `[[route]]`: a condition and where matching requests go.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique; shown in the access log; default `route-N` (N from 1).
    pub name: String,
    /// `match = { .. }`; all given conditions must hold; an empty one matches everything.
    pub matches: RouteMatch,
    /// `to = { .. }`
    pub to: RouteTarget,
    /// Policy for these requests; default the model's.
    pub policy: Option<PolicyName>,
}

/// Conditions of a route.
#[derive(Debug, Clone, Default)]
pub struct RouteMatch {
    /// Glob (`*`, `?`, `[..]`, `{a,b}`) over the model name the client asked for.
    pub model: Option<GlobMatcher>,
    /// The Host header without its port, lower case, exact.
    pub host: Option<String>,
    /// `header = { name = ".." , value = ".." }` or a list of such; names lower case; no `value` = present at all.
    pub headers: Vec<HeaderMatch>,
}

/// One header condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case; never a `weir-` name.
    pub name: String,
    /// Exact value; absent = any.
    pub value: Option<String>,
}

/// Where a route sends a request; at least one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTarget {
    /// Another model; default the one asked for.
    pub model: Option<ModelName>,
    /// This version; default the one asked for, else the highest that serves.
    pub version: Option<Version>,
    /// Only workers that carry all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// `[[model]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSection {
    /// Policy for this model; default `[gateway] policy`.
    pub policy: Option<PolicyName>,
    /// Words that clients may say for a version of it; default none.
    pub version_labels: BTreeMap<Label, Version>,
}

impl PartialEq for RouteMatch {
    /// Globs are equal when their text is.
    fn eq(&self, other: &Self) -> bool {
        let glob = |m: &Self| m.model.as_ref().map(|glob| glob.glob().glob().to_owned());
        glob(self) == glob(other) && self.host == other.host && self.headers == other.headers
    }
}

impl GatewayConfig {
    /// Parses and checks the text of a `gateway.toml`; `file` is for messages and for resolving relative paths.
    ///
    /// Reads what the text names: environment variables and files of secrets, and the addresses of host names.
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
        reader::read(text, file, outside, read::gateway)
    }
}

#[cfg(test)]
mod tests;
