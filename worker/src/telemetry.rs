//! Every metric of the worker: its name, its labels and the function that records it.
//!
//! Labels come from the repository (model, version) or from closed enums, never from request text. Handles are
//! looked up once per model version, so recording is an atomic operation. Rendered as Prometheus text by
//! `GET /metrics` and described in docs/METRICS.md, which a test checks; the recorder is this value's own, so that several workers can live in one test process.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use weir_batching::Cause;
use weir_protocol::{Bytes, Lifecycle, ModelName, Reason, Refusal, Version};

/// Bucket bounds of times that models spend, in seconds.
const SECONDS: [f64; 18] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];
/// Bucket bounds of the worker's own time per request, in seconds; fine where the median of small requests lies.
const OVERHEAD_SECONDS: [f64; 24] = [
    5e-6, 10e-6, 15e-6, 20e-6, 25e-6, 30e-6, 35e-6, 40e-6, 45e-6, 50e-6, 60e-6, 70e-6, 80e-6, 100e-6, 130e-6,
    160e-6, 200e-6, 320e-6, 640e-6, 1e-3, 2e-3, 5e-3, 20e-3, 0.1,
];
/// Bucket bounds of batch sizes, in rows.
const ROWS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Bucket bounds of how full batches are.
const FILL_RATIOS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Bucket bounds of how far quotes are off; 1 = they say nothing, or twice the time.
const ERROR_RATIOS: [f64; 14] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 3.0, 10.0];
/// Bucket bounds of the parts of a request.
const PARTS: [f64; 8] = [2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

/// Label values of the state gauge.
const STATES: [Lifecycle; 6] = [
    Lifecycle::Absent,
    Lifecycle::Loading,
    Lifecycle::Warming,
    Lifecycle::Serving,
    Lifecycle::Draining,
    Lifecycle::Failed,
];

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The name of a metric. Times are in seconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that Prometheus sees.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

names! {
    /// Counter: requests that ended, by model, version and outcome (`ok`, a reason, or `left`).
    Requests = "weir_worker_requests_total",
    /// Counter: requests not started, by reason.
    Refused = "weir_worker_refused_total",
    /// Counter: requests, or parts of one, that left the queue without running, by cause.
    Dropped = "weir_worker_dropped_total",
    /// Histogram: time from admission until a lane took the request.
    Queue = "weir_worker_queue_seconds",
    /// Histogram: time of a forward pass, the copies of its tensors in and out included.
    Forward = "weir_worker_forward_seconds",
    /// Histogram: time that a lane was busy with a batch, from taking it to its last answer. Its sum is the lanes'
    /// busy time.
    Batch = "weir_worker_batch_seconds",
    /// Histogram: rows of a batch.
    BatchRows = "weir_worker_batch_rows",
    /// Histogram: rows of a batch, as a share of the most that it may have.
    BatchFill = "weir_worker_batch_fill_ratio",
    /// Counter: lengths of the rows that ran padded, by whether a request brought them.
    Elements = "weir_worker_padded_elements_total",
    /// Histogram: parts of a request that had more rows than a batch; others are not in it.
    Parts = "weir_worker_request_parts",
    /// Histogram: how far the time that was foreseen at admission was off, as a share of the real time.
    QuoteError = "weir_worker_quote_error_ratio",
    /// Histogram: the worker's own time for a request: from its last byte to its answer, queue and forward excluded.
    Overhead = "weir_worker_overhead_seconds",
    /// Gauge: requests accepted and not yet answered, by model and version.
    InFlight = "weir_worker_in_flight",
    /// Gauge: rows waiting, by model and version.
    QueuedRows = "weir_worker_queued_rows",
    /// Gauge: 1 for the lifecycle state that a model version is in, else 0.
    State = "weir_worker_model_state",
    /// Gauge: memory that models may use, in bytes.
    MemoryTotal = "weir_worker_memory_total_bytes",
    /// Gauge: memory still free of it, in bytes.
    MemoryFree = "weir_worker_memory_free_bytes",
    /// Gauge: request bodies in hand, in bytes.
    Bodies = "weir_worker_body_bytes",
}

/// The worker's metrics.
#[derive(Debug)]
pub struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// An empty set of metrics.
    #[must_use]
    pub fn new() -> Self {
        let bounds: [(Metric, &[f64]); 8] = [
            (Metric::Queue, &SECONDS),
            (Metric::Forward, &SECONDS),
            (Metric::Batch, &SECONDS),
            (Metric::BatchRows, &ROWS),
            (Metric::BatchFill, &FILL_RATIOS),
            (Metric::Parts, &PARTS),
            (Metric::QuoteError, &ERROR_RATIOS),
            (Metric::Overhead, &OVERHEAD_SECONDS),
        ];
        let builder = bounds.into_iter().fold(PrometheusBuilder::new(), |builder, (metric, bounds)| {
            // Fails for an empty list of bounds only; the metric would then be a summary.
            let named = builder.set_buckets_for_metric(Matcher::Full(metric.name().to_owned()), bounds);
            named.unwrap_or_default()
        });
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recorded samples into their histograms. Call every few seconds: samples pile up until then.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The metrics of one model version, ready to record.
    #[must_use]
    pub fn replica(&self, model: &ModelName, version: Version) -> ReplicaMetrics {
        let labels = [("model", model.to_string()), ("version", version.to_string())];
        let counter = |metric, name, value| self.counter(metric, &with(&labels, name, value));
        ReplicaMetrics {
            ok: counter(Metric::Requests, "outcome", "ok"),
            left: counter(Metric::Requests, "outcome", "left"),
            expired: counter(Metric::Dropped, "cause", "expired"),
            hopeless: counter(Metric::Dropped, "cause", "hopeless"),
            cancelled: counter(Metric::Dropped, "cause", "cancelled"),
            real: counter(Metric::Elements, "kind", "real"),
            padding: counter(Metric::Elements, "kind", "padding"),
            queue: self.histogram(Metric::Queue, &labels),
            forward: self.histogram(Metric::Forward, &labels),
            batch: self.histogram(Metric::Batch, &labels),
            rows: self.histogram(Metric::BatchRows, &labels),
            fill: self.histogram(Metric::BatchFill, &labels),
            parts: self.histogram(Metric::Parts, &labels),
            quote_error: self.histogram(Metric::QuoteError, &labels),
            overhead: self.histogram(Metric::Overhead, &labels),
            in_flight: self.gauge(Metric::InFlight, &labels),
            queued_rows: self.gauge(Metric::QueuedRows, &labels),
        }
    }

    /// Counts a request that ended in an error. `replica` is the model version that it ran on, absent when it
    /// reached none.
    pub fn record_error(&self, replica: Option<(&ModelName, Version)>, reason: Reason) {
        let (model, version) = replica.map_or_else(Default::default, |(m, v)| (m.to_string(), v.to_string()));
        let labels = [("model", model), ("version", version), ("outcome", reason.name().to_owned())];
        self.counter(Metric::Requests, &labels).increment(1);
    }

    /// Counts a request that was not started.
    pub fn record_refusal(&self, refusal: Refusal) {
        self.counter(Metric::Refused, &[("reason", refusal.name().to_owned())]).increment(1);
    }

    /// Shows which lifecycle state a model version is in.
    pub fn record_state(&self, model: &ModelName, version: Version, state: Lifecycle) {
        let labels = [("model", model.to_string()), ("version", version.to_string())];
        for each in STATES {
            let is = f64::from(u8::from(each == state));
            self.gauge(Metric::State, &with(&labels, "state", each.name())).set(is);
        }
    }

    /// Shows the device's memory.
    pub fn record_memory(&self, total: Bytes, free: Bytes) {
        self.gauge(Metric::MemoryTotal, &[]).set(approximate(total.0));
        self.gauge(Metric::MemoryFree, &[]).set(approximate(free.0));
    }

    /// Shows how many bytes of request bodies are in hand.
    pub fn record_bodies(&self, held: Bytes) {
        self.gauge(Metric::Bodies, &[]).set(approximate(held.0));
    }

    #[expect(clippy::disallowed_macros, reason = "telemetry owns the raw macros")]
    fn counter(&self, metric: Metric, labels: &[(&'static str, String)]) -> Counter {
        metrics::with_local_recorder(&self.recorder, || metrics::counter!(metric.name(), labels))
    }

    #[expect(clippy::disallowed_macros, reason = "telemetry owns the raw macros")]
    fn gauge(&self, metric: Metric, labels: &[(&'static str, String)]) -> Gauge {
        metrics::with_local_recorder(&self.recorder, || metrics::gauge!(metric.name(), labels))
    }

    #[expect(clippy::disallowed_macros, reason = "telemetry owns the raw macros")]
    fn histogram(&self, metric: Metric, labels: &[(&'static str, String)]) -> Histogram {
        metrics::with_local_recorder(&self.recorder, || metrics::histogram!(metric.name(), labels))
    }
}

/// Recording functions of one model version. Cheap to clone.
#[derive(Clone)]
pub struct ReplicaMetrics {
    ok: Counter,
    left: Counter,
    expired: Counter,
    hopeless: Counter,
    cancelled: Counter,
    real: Counter,
    padding: Counter,
    queue: Histogram,
    forward: Histogram,
    batch: Histogram,
    rows: Histogram,
    fill: Histogram,
    parts: Histogram,
    quote_error: Histogram,
    overhead: Histogram,
    in_flight: Gauge,
    queued_rows: Gauge,
}

impl ReplicaMetrics {
    /// A request was answered with a result; `overhead` is the worker's own share of its time.
    pub fn record_ok(&self, overhead: Duration) {
        self.ok.increment(1);
        self.overhead.record(overhead.as_secs_f64());
    }

    /// A lane took a request that had waited this long.
    pub fn record_wait(&self, waited: Duration) {
        self.queue.record(waited.as_secs_f64());
    }

    /// The client of a request that was accepted left before its answer.
    pub fn record_left(&self) {
        self.left.increment(1);
    }

    /// At its admission a request was foreseen to be done after `quoted`; it took `took`.
    pub fn record_quote(&self, quoted: Duration, took: Duration) {
        let took = took.as_secs_f64().max(f64::MIN_POSITIVE);
        self.quote_error.record((quoted.as_secs_f64() - took).abs() / took);
    }

    /// A request came in so many parts, more than one.
    pub fn record_split(&self, parts: usize) {
        self.parts.record(approximate(parts as u64));
    }

    /// A request, or a part of one, left the queue without running.
    pub fn record_dropped(&self, cause: Cause) {
        let counter = match cause {
            Cause::Expired => &self.expired,
            Cause::Hopeless => &self.hopeless,
            Cause::Cancelled => &self.cancelled,
        };
        counter.increment(1);
    }

    /// A forward pass of so many rows, of `most` at most, took this long.
    pub fn record_forward(&self, rows: u32, most: u32, took: Duration) {
        self.forward.record(took.as_secs_f64());
        self.rows.record(f64::from(rows));
        self.fill.record(f64::from(rows) / f64::from(most.max(1)));
    }

    /// The rows of a forward pass had lengths of `real` in all, and were padded by `padding` in all.
    pub fn record_padding(&self, real: u64, padding: u64) {
        self.real.increment(real);
        self.padding.increment(padding);
    }

    /// A lane was busy with a batch for this long.
    pub fn record_batch(&self, busy: Duration) {
        self.batch.record(busy.as_secs_f64());
    }

    /// Shows what is in hand: requests in flight and rows waiting.
    pub fn record_load(&self, in_flight: u64, queued_rows: u64) {
        self.in_flight.set(approximate(in_flight));
        self.queued_rows.set(approximate(queued_rows));
    }
}

fn with(
    labels: &[(&'static str, String)],
    name: &'static str,
    value: &'static str,
) -> Vec<(&'static str, String)> {
    labels.iter().cloned().chain([(name, value.to_owned())]).collect()
}

/// Gauges are floating point: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; above 2^53 the nearest will do")]
fn approximate(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
