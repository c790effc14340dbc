//! Handles of metric series, resolved once so that recording neither formats nor allocates.
//!
//! Every telemetry object has a recorder of its own, so two gateways in one test process do not mix. Series with
//! a name in a label (model, worker) live in a bounded copy-on-write map: a lookup is one atomic load and one
//! hash. Called by [`super::Telemetry`] only.

use std::{
    collections::HashMap,
    fmt::Display,
    hash::Hash,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::metric::{Kind, Metric, SECONDS_BUCKETS};

/// Most different models, and most different workers, that get series of their own; what comes after shares the
/// series labelled [`OVERFLOW`]. A model has about 45 series, so this bounds `/metrics` at a few hundred thousand.
pub(super) const MAX_NAMES: usize = 10_000;
/// Label value shared by names beyond [`MAX_NAMES`]; no model or worker name can begin with a dot.
pub(super) const OVERFLOW: &str = "..";

static METADATA: Metadata<'static> = Metadata::new("weir", Level::INFO, None);

/// Makes series for one `/metrics` page.
pub(super) struct Recorder {
    inner: PrometheusRecorder,
}

impl Recorder {
    /// A recorder in which every [`Metric`] is described.
    pub(super) fn new() -> Result<Self, BuildError> {
        let inner = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS)?.build_recorder();
        for metric in Metric::ALL {
            let (name, help) = (metric.name().into(), metric.help().into());
            match metric.kind() {
                Kind::Counter => inner.describe_counter(name, metric.unit(), help),
                Kind::Gauge => inner.describe_gauge(name, metric.unit(), help),
                Kind::Histogram => inner.describe_histogram(name, metric.unit(), help),
            }
        }
        Ok(Self { inner })
    }

    pub(super) fn handle(&self) -> PrometheusHandle {
        self.inner.handle()
    }

    pub(super) fn counter(&self, metric: Metric, values: &[&str]) -> Counter {
        self.inner.register_counter(&key(metric, values), &METADATA)
    }

    pub(super) fn gauge(&self, metric: Metric, values: &[&str]) -> Gauge {
        self.inner.register_gauge(&key(metric, values), &METADATA)
    }

    pub(super) fn histogram(&self, metric: Metric, values: &[&str]) -> Histogram {
        self.inner.register_histogram(&key(metric, values), &METADATA)
    }
}

fn key(metric: Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels().len(), values.len(), "{metric:?} takes {:?}", metric.labels());
    let labels: Vec<Label> = metric
        .labels()
        .iter()
        .zip(values)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name(), labels)
}

/// Statuses with a series of their own; any other one that a worker sends counts as `other`.
const CODES: [(u16, &str); 22] = [
    (200, "200"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (411, "411"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];
const OTHER_CODE: &str = "other";

/// The series of one model.
pub(super) struct ModelSeries {
    model: String,
    codes: [OnceLock<Counter>; CODES.len()],
    other: OnceLock<Counter>,
    /// [`Metric::RequestSeconds`]
    pub(super) request_seconds: Histogram,
    /// [`Metric::UpstreamSeconds`]
    pub(super) upstream_seconds: Histogram,
}

impl ModelSeries {
    pub(super) fn new(recorder: &Recorder, model: &str) -> Self {
        Self {
            model: model.to_owned(),
            codes: std::array::from_fn(|_| OnceLock::new()),
            other: OnceLock::new(),
            request_seconds: recorder.histogram(Metric::RequestSeconds, &[model]),
            upstream_seconds: recorder.histogram(Metric::UpstreamSeconds, &[model]),
        }
    }

    /// Counts one answer. A code's series appears with its first answer.
    pub(super) fn count(&self, recorder: &Recorder, status: u16) {
        let place = CODES.binary_search_by_key(&status, |(code, _)| *code).ok();
        let known = place.and_then(|i| Some((self.codes.get(i)?, CODES.get(i)?.1)));
        let (cell, name) = known.unwrap_or((&self.other, OTHER_CODE));
        cell.get_or_init(|| recorder.counter(Metric::Requests, &[&self.model, name])).increment(1);
    }
}

/// Series by name: read by one atomic load, copied when a name is new, bounded in number.
pub(super) struct ByName<K, V> {
    most: usize,
    map: ArcSwap<HashMap<K, Arc<V>>>,
    overflow: Arc<V>,
}

impl<K: Clone + Eq + Hash + Display, V> ByName<K, V> {
    /// At most `most` names get series of their own; the others share `overflow`.
    pub(super) fn new(most: usize, overflow: V) -> Self {
        Self { most, map: ArcSwap::default(), overflow: Arc::new(overflow) }
    }

    /// Runs `record` on the series of `name`, made by `make` if there is none yet.
    pub(super) fn with(&self, name: &K, make: impl Fn(&str) -> V, record: impl Fn(&V)) {
        let map = self.map.load();
        if let Some(series) = map.get(name) {
            return record(series);
        }
        if map.len() >= self.most {
            return record(&self.overflow);
        }
        let fresh = Arc::new(make(&name.to_string()));
        self.map.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.entry(name.clone()).or_insert_with(|| Arc::clone(&fresh));
            new
        });
        record(&fresh);
    }
}
