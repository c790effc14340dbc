//! The names of every metric of the gateway, their kinds and what they mean.
//!
//! This enum is the only place where a metric name is spelled; `docs/METRICS.md` lists the same names, and a test
//! compares the two. Knows nothing of how values are collected: that is [`super::handles`].

use metrics::Unit;

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over the buckets of [`SECONDS_BUCKETS`].
    Histogram,
}

/// Upper bounds of the duration histograms, in seconds: 100 us (a local hop) to 60 s (the default request timeout).
pub const SECONDS_BUCKETS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

macro_rules! metrics_table {
    ($($variant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal,)*) => {
        /// Every metric of the gateway.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of docs/METRICS.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on `/metrics`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Counter, gauge or histogram.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Names of its labels; their values come from the configuration, from reported models or closed enums.
            #[must_use]
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }

            /// One sentence for the `# HELP` line.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics_table! {
    Requests = Counter "weir_gateway_requests_total" ["model", "code"]
        "Requests answered, by model (`-` when none was resolved) and HTTP status (`other` outside a fixed list).",
    Errors = Counter "weir_gateway_errors_total" ["reason"]
        "Requests that the gateway itself answered without a result, by `weir-reason`.",
    RequestSeconds = Histogram "weir_gateway_request_duration_seconds" ["model"]
        "From a request's arrival to the end of its answer.",
    UpstreamSeconds = Histogram "weir_gateway_upstream_duration_seconds" ["model"]
        "From choosing the worker that answered to the end of its answer.",
    Repeated = Counter "weir_gateway_repeated_requests_total" []
        "Requests that took more than one attempt.",
    Attempts = Counter "weir_gateway_attempts_total" ["outcome"]
        "Attempts at a worker, by outcome.",
    Refusals = Counter "weir_gateway_refusals_total" ["refusal"]
        "Attempts that a worker refused before it started, by `weir-refused`.",
    WorkerRequests = Counter "weir_gateway_worker_requests_total" ["worker"]
        "Requests whose answer came from this worker.",
    Probes = Counter "weir_gateway_probes_total" ["outcome"]
        "Health probes of workers, by outcome.",
    FleetCalls = Counter "weir_gateway_fleet_calls_total" ["call", "outcome"]
        "Calls to workers for statistics and to load or unload models, by call and outcome.",
    HintsDropped = Counter "weir_gateway_connect_hints_dropped_total" []
        "Connect failures that were not passed to health tracking because its queue was full.",
    Rebuilds = Counter "weir_gateway_snapshot_rebuilds_total" ["cause"]
        "Routing snapshots published, by cause.",
    Reloads = Counter "weir_gateway_config_reloads_total" ["outcome"]
        "Times the configuration file was read again, by outcome.",
    ConfigGeneration = Gauge "weir_gateway_config_generation" []
        "Generation of the configuration in use; 1 at start, one more with every change applied.",
    ConfigRejected = Gauge "weir_gateway_config_rejected" []
        "1 while the configuration file on disk is not the one in use because it was rejected, else 0.",
    Workers = Gauge "weir_gateway_workers" ["health"]
        "Registered workers, by health.",
    WorkersDraining = Gauge "weir_gateway_workers_draining" []
        "Registered workers that an operator drains.",
    InFlight = Gauge "weir_gateway_in_flight_requests" []
        "Requests admitted and not yet answered in full.",
    OpenRequests = Gauge "weir_gateway_open_requests" []
        "Requests begun and not yet answered in full, those still sending their body included.",
    BuildInfo = Gauge "weir_gateway_build_info" ["version"]
        "Always 1; the label is the version of the running binary.",
}

impl Metric {
    /// The unit of its values, where it has one.
    #[must_use]
    pub fn unit(self) -> Option<Unit> {
        match self.kind() {
            Kind::Histogram => Some(Unit::Seconds),
            Kind::Counter | Kind::Gauge => None,
        }
    }
}
