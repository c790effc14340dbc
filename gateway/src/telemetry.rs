//! What the gateway tells about itself: metrics, the access log, and the labels both may use.
//!
//! One `record_*` function per event; nobody else names a metric. Labels come from the configuration, from models
//! that workers report and from closed enums, never from request text. Recording costs well under a microsecond:
//! handles are resolved once and cached ([`handles`]). Called by the proxy, the registry's writer, probes, reload
//! and the admin listener; knows none of them.

pub mod access;
mod handles;
pub mod metric;

use std::time::Duration;

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use weir_protocol::{ModelName, Reason, Refusal, WorkerId};

use self::handles::{ByName, MAX_NAMES, ModelSeries, OVERFLOW, Recorder};
pub use self::{
    access::{AccessRecord, log_access},
    metric::Metric,
};

/// Label of requests that no model was resolved for; not a valid model name.
const NO_MODEL: &str = "-";

/// One finished request, as the metrics see it.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The model, only when the directory knows it: it becomes a label.
    pub model: Option<&'a ModelName>,
    /// HTTP status of the answer; 499 when the client left before it.
    pub status: u16,
    /// Why there is no result, when the gateway itself answered.
    pub reason: Option<Reason>,
    /// Attempts at workers; 0 when none was tried.
    pub attempts: u32,
    /// The worker whose answer the client got.
    pub worker: Option<&'a WorkerId>,
    /// From arrival to the end of the answer.
    pub duration: Duration,
    /// From choosing the worker that answered to the end of its answer.
    pub upstream_duration: Option<Duration>,
}

/// How one attempt at a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// An answer of any status, refusals excepted.
    Answered,
    /// No connection.
    ConnectFailed,
    /// The connection broke before the answer was complete.
    Broke,
    /// The worker did not start it.
    Refused(Refusal),
    /// No answer within the time limit.
    TimedOut,
}

impl AttemptOutcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ConnectFailed => "connect-failed",
            Self::Broke => "broke",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timed-out",
        }
    }
}

/// How reading the configuration again ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReloadKind {
    /// A new generation serves.
    Applied,
    /// The file says what is in use already.
    Unchanged,
    /// The file has problems; the last good one serves on.
    Rejected,
}

/// Why a routing snapshot was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RebuildCause {
    /// A configuration was applied.
    Config,
    /// A worker's report changed what can be routed.
    Report,
    /// A worker settled by failing its first probe.
    Probe,
}

/// What workers are asked for on behalf of a client or an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FleetCall {
    /// Statistics, to be summed.
    Statistics,
    /// To load a model.
    Load,
    /// To unload a model.
    Unload,
}

impl FleetCall {
    const ALL: [Self; 3] = [Self::Statistics, Self::Load, Self::Unload];

    fn name(self) -> &'static str {
        match self {
            Self::Statistics => "statistics",
            Self::Load => "load",
            Self::Unload => "unload",
        }
    }
}

/// How such a call to one worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FleetOutcome {
    /// With what was asked for.
    Answered,
    /// The worker does not offer it, or said no.
    Refused,
    /// With no answer in time, or none that can be read.
    Failed,
}

impl FleetOutcome {
    const ALL: [Self; 3] = [Self::Answered, Self::Refused, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Everything counted at the moment `/metrics` is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetGauges {
    /// Workers not probed yet.
    pub unknown: u64,
    /// Healthy workers.
    pub healthy: u64,
    /// Unhealthy workers.
    pub unhealthy: u64,
    /// Workers being drained, of any health.
    pub draining: u64,
    /// Requests admitted.
    pub in_flight: u64,
    /// Requests begun.
    pub open: u64,
    /// Generation of the configuration in use.
    pub generation: u64,
}

/// The gateway's metrics. One per process in production; tests make as many as they like.
pub struct Telemetry {
    recorder: Recorder,
    handle: PrometheusHandle,
    models: ByName<ModelName, ModelSeries>,
    no_model: ModelSeries,
    workers: ByName<WorkerId, Counter>,
    fixed: Fixed,
}

/// Series that exist from the start, so that a rate over them never begins with a gap.
struct Fixed {
    errors: Vec<(Reason, Counter)>,
    attempts: [(AttemptOutcome, Counter); 4],
    refused: Counter,
    refusals: [(Refusal, Counter); 6],
    repeated: Counter,
    probes_ok: Counter,
    probes_failed: Counter,
    fleet_calls: Vec<((FleetCall, FleetOutcome), Counter)>,
    hints_dropped: Counter,
    rebuilds: [(RebuildCause, Counter); 3],
    reloads: [(ReloadKind, Counter); 3],
    config_rejected: Gauge,
    generation: Gauge,
    health: [Gauge; 3],
    draining: Gauge,
    in_flight: Gauge,
    open: Gauge,
}

impl Fixed {
    fn new(recorder: &Recorder) -> Self {
        let counter = |metric, value: &'static str| recorder.counter(metric, &[value]);
        let attempt = |outcome: AttemptOutcome| (outcome, counter(Metric::Attempts, outcome.name()));
        use AttemptOutcome::{Answered, Broke, ConnectFailed, TimedOut};
        recorder.gauge(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        Self {
            errors: Reason::ALL.iter().map(|r| (*r, counter(Metric::Errors, r.name()))).collect(),
            attempts: [Answered, ConnectFailed, Broke, TimedOut].map(attempt),
            refused: counter(Metric::Attempts, AttemptOutcome::Refused(Refusal::Draining).name()),
            refusals: Refusal::ALL.map(|r| (r, counter(Metric::Refusals, r.name()))),
            repeated: recorder.counter(Metric::Repeated, &[]),
            probes_ok: counter(Metric::Probes, "ok"),
            probes_failed: counter(Metric::Probes, "failed"),
            fleet_calls: fleet_calls(recorder),
            hints_dropped: recorder.counter(Metric::HintsDropped, &[]),
            rebuilds: [
                (RebuildCause::Config, counter(Metric::Rebuilds, "config")),
                (RebuildCause::Report, counter(Metric::Rebuilds, "report")),
                (RebuildCause::Probe, counter(Metric::Rebuilds, "probe")),
            ],
            reloads: [
                (ReloadKind::Applied, counter(Metric::Reloads, "applied")),
                (ReloadKind::Unchanged, counter(Metric::Reloads, "unchanged")),
                (ReloadKind::Rejected, counter(Metric::Reloads, "rejected")),
            ],
            config_rejected: recorder.gauge(Metric::ConfigRejected, &[]),
            generation: recorder.gauge(Metric::ConfigGeneration, &[]),
            health: ["unknown", "healthy", "unhealthy"].map(|h| recorder.gauge(Metric::Workers, &[h])),
            draining: recorder.gauge(Metric::WorkersDraining, &[]),
            in_flight: recorder.gauge(Metric::InFlight, &[]),
            open: recorder.gauge(Metric::OpenRequests, &[]),
        }
    }
}

impl Telemetry {
    /// Telemetry with every fixed series at zero.
    ///
    /// # Errors
    /// When the exporter refuses the histogram buckets; with the constants of this crate it does not.
    pub fn new() -> Result<Self, BuildError> {
        let recorder = Recorder::new()?;
        Ok(Self {
            handle: recorder.handle(),
            models: ByName::new(MAX_NAMES, ModelSeries::new(&recorder, OVERFLOW)),
            no_model: ModelSeries::new(&recorder, NO_MODEL),
            workers: ByName::new(MAX_NAMES, recorder.counter(Metric::WorkerRequests, &[OVERFLOW])),
            fixed: Fixed::new(&recorder),
            recorder,
        })
    }

    /// Counts one finished request. Neither formats nor allocates once its model and worker were seen before.
    pub fn record_request(&self, request: &RequestRecord<'_>) {
        let record = |series: &ModelSeries| {
            series.count(&self.recorder, request.status);
            series.request_seconds.record(request.duration);
            if let Some(upstream) = request.upstream_duration {
                series.upstream_seconds.record(upstream);
            }
        };
        match request.model {
            Some(model) => self.models.with(model, |name| ModelSeries::new(&self.recorder, name), record),
            None => record(&self.no_model),
        }
        if let Some(worker) = request.worker {
            let make = |name: &str| self.recorder.counter(Metric::WorkerRequests, &[name]);
            self.workers.with(worker, make, |answers| answers.increment(1));
        }
        if let Some(reason) = request.reason {
            bump(&self.fixed.errors, reason);
        }
        if request.attempts > 1 {
            self.fixed.repeated.increment(1);
        }
    }

    /// Counts one attempt at a worker.
    pub fn record_attempt(&self, outcome: AttemptOutcome) {
        if let AttemptOutcome::Refused(refusal) = outcome {
            self.fixed.refused.increment(1);
            bump(&self.fixed.refusals, refusal);
        } else {
            bump(&self.fixed.attempts, outcome);
        }
    }

    /// Counts one health probe.
    pub fn record_probe(&self, ok: bool) {
        let counter = if ok { &self.fixed.probes_ok } else { &self.fixed.probes_failed };
        counter.increment(1);
    }

    /// Counts one call to a worker on behalf of a client or an operator.
    pub fn record_fleet_call(&self, call: FleetCall, outcome: FleetOutcome) {
        bump(&self.fixed.fleet_calls, (call, outcome));
    }

    /// Counts a connect failure that did not reach health tracking.
    pub fn record_hint_dropped(&self) {
        self.fixed.hints_dropped.increment(1);
    }

    /// Counts one published snapshot.
    pub fn record_rebuild(&self, cause: RebuildCause) {
        bump(&self.fixed.rebuilds, cause);
    }

    /// Counts one reading of the configuration file.
    pub fn record_reload(&self, kind: ReloadKind) {
        bump(&self.fixed.reloads, kind);
        self.fixed.config_rejected.set(if kind == ReloadKind::Rejected { 1.0 } else { 0.0 });
    }

    /// The `/metrics` page in the Prometheus text format, with the gauges as given.
    #[must_use]
    pub fn render(&self, fleet: &FleetGauges) -> String {
        let fixed = &self.fixed;
        let health = [fleet.unknown, fleet.healthy, fleet.unhealthy];
        fixed.health.iter().zip(health).for_each(|(gauge, count)| set(gauge, count));
        set(&fixed.draining, fleet.draining);
        set(&fixed.in_flight, fleet.in_flight);
        set(&fixed.open, fleet.open);
        set(&fixed.generation, fleet.generation);
        self.handle.render()
    }

    /// Folds recorded durations into their histograms; without it they pile up between two scrapes. To be called
    /// every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn fleet_calls(recorder: &Recorder) -> Vec<((FleetCall, FleetOutcome), Counter)> {
    let every = FleetCall::ALL.into_iter().flat_map(|call| FleetOutcome::ALL.map(|outcome| (call, outcome)));
    let counter = |(call, outcome): (FleetCall, FleetOutcome)| {
        ((call, outcome), recorder.counter(Metric::FleetCalls, &[call.name(), outcome.name()]))
    };
    every.map(counter).collect()
}

fn bump<K: PartialEq>(series: &[(K, Counter)], key: K) {
    if let Some((_, counter)) = series.iter().find(|(k, _)| *k == key) {
        counter.increment(1);
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(value as f64);
}

#[cfg(test)]
mod tests;
