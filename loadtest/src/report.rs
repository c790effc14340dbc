//! What a run measured: one JSON object, or a table for people.

use std::{collections::BTreeMap, fmt};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{Plan, tally::Tally};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `http://host:port` of the server.
    pub url: String,
    /// The path that was asked.
    pub path: String,
    /// `json` or `binary`.
    pub encoding: &'static str,
    /// `poisson` or `constant`.
    pub arrivals: &'static str,
    /// Mean requests per second that were due.
    pub rate: f64,
    /// Seed of arrivals and random tensors.
    pub seed: u64,
    /// Most connections, and so most requests in flight.
    pub connections: usize,
    /// Wall time from the first due time to the last outcome, in seconds.
    pub seconds: f64,
    /// Requests that were due.
    pub requests: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Responses with status 200 and a well-formed result.
    pub ok: u64,
    /// Requests without one: `requests - ok`.
    pub lost: u64,
    /// Requests that were due while every connection was in use. Part of `lost`.
    pub not_sent: u64,
    /// Responses with status 200 that are no result. Part of `lost`.
    pub malformed: u64,
    /// Well-formed results per second of `seconds`.
    pub throughput: f64,
    /// From the due time to the end of the response, of well-formed results.
    pub latency_ms: Percentiles,
    /// How long a result was useful, in milliseconds; absent without a deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
    /// Well-formed results within the deadline; absent without one. Part of `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_time: Option<u64>,
    /// From the due time to the end of the response, of answers with status 503.
    pub refusal_ms: Percentiles,
    /// From the due time until the client itself got to the request: how far to trust `latency_ms`.
    pub lag_ms: Percentiles,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Refusals by `weir-reason`.
    pub reasons: BTreeMap<String, u64>,
    /// Requests without a response by kind: connect, closed, reset, timeout, protocol. Part of `lost`.
    pub errors: BTreeMap<String, u64>,
    /// Results by the worker that `weir-served` names.
    pub workers: BTreeMap<String, u64>,
    /// Share of labelled rows answered rightly, 0 to 1; absent without labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// What the first lost request met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<String>,
    /// Commands that ran on the way (`--at`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionReport>,
}

/// A distribution in milliseconds; zeros when nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each field is the percentile it is named after")]
pub struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// A command that ran when a share of the requests had been due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionReport {
    /// The command.
    pub command: String,
    /// Requests that had been due when it started.
    pub at_request: u64,
    /// Requests in flight when it started.
    pub in_flight: usize,
    /// Its exit code; absent when a signal ended it or it could not start.
    pub exit_code: Option<i32>,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(micros: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        let at = |quantile| ms(micros.value_at_quantile(quantile));
        Self {
            mean: micros.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(micros.max()),
        }
    }
}

impl Report {
    /// Sums up a run of which `requests` were due.
    #[must_use]
    pub fn new(plan: &Plan, requests: u64, tally: &Tally) -> Self {
        let seconds = tally.took.as_secs_f64();
        Self {
            url: plan.target.url(),
            path: plan.payload.call().path("infer"),
            encoding: plan.payload.encoding().name(),
            arrivals: plan.schedule.process().name(),
            rate: plan.schedule.rate(),
            seed: plan.schedule.seed(),
            connections: plan.connections,
            seconds,
            requests,
            sent: requests - tally.not_sent,
            ok: tally.ok,
            lost: requests - tally.ok,
            not_sent: tally.not_sent,
            malformed: tally.malformed,
            throughput: if seconds > 0.0 { tally.ok as f64 / seconds } else { 0.0 },
            latency_ms: Percentiles::from(&tally.latency),
            deadline_ms: tally.deadline.map(|deadline| deadline.as_secs_f64() * 1e3),
            in_time: tally.deadline.map(|_| tally.in_time),
            refusal_ms: Percentiles::from(&tally.refusal),
            lag_ms: Percentiles::from(&tally.lag),
            statuses: tally.statuses.clone(),
            reasons: tally.reasons.clone(),
            errors: tally.errors.clone(),
            workers: tally.workers.clone(),
            accuracy: (tally.rows > 0).then(|| tally.correct as f64 / tally.rows as f64),
            first_loss: tally.first_loss.clone(),
            actions: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, path, encoding, arrivals, rate, seed, .. } = self;
        writeln!(f, "{url}{path}  {encoding}, {arrivals} arrivals at {rate}/s, seed {seed}")?;
        row(
            f,
            "requests",
            format!("{} due, {} sent, {} ok, {} lost", self.requests, self.sent, self.ok, self.lost),
        )?;
        row(f, "throughput", format!("{:.1}/s over {:.2} s", self.throughput, self.seconds))?;
        row(f, "latency ms", self.latency_ms)?;
        if let Some((deadline, in_time)) = self.deadline_ms.zip(self.in_time) {
            let share = in_time as f64 / self.requests.max(1) as f64 * 100.0;
            row(f, "in time", format!("{in_time} within {deadline} ms, {share:.1} % of those due"))?;
        }
        if self.statuses.contains_key(&503) {
            row(f, "refusal ms", self.refusal_ms)?;
        }
        row(f, "client lag ms", self.lag_ms)?;
        row(f, "status", counts(&self.statuses))?;
        if !self.workers.is_empty() {
            row(f, "workers", counts(&self.workers))?;
        }
        if let Some(accuracy) = self.accuracy {
            row(f, "accuracy", format!("{accuracy:.4}"))?;
        }
        for action in &self.actions {
            let ActionReport { command, at_request, in_flight, .. } = action;
            row(f, "action", format!("{command} (at request {at_request}, {in_flight} in flight)"))?;
        }
        self.fmt_losses(f)
    }
}

impl Report {
    fn fmt_losses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in [("not sent", self.not_sent), ("malformed", self.malformed)] {
            if count > 0 {
                row(f, name, count)?;
            }
        }
        for (name, map) in [("reasons", &self.reasons), ("errors", &self.errors)] {
            if !map.is_empty() {
                row(f, name, counts(map))?;
            }
        }
        match &self.first_loss {
            Some(loss) => row(f, "first loss", loss),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, p50, p90, p99, p999, max } = self;
        write!(f, "p50 {p50:.3}  p90 {p90:.3}  p99 {p99:.3}  p99.9 {p999:.3}  max {max:.3}  mean {mean:.3}")
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<14}{value}")
}

fn counts<K: fmt::Display>(map: &BTreeMap<K, u64>) -> String {
    map.iter().map(|(key, count)| format!("{key}: {count}")).collect::<Vec<_>>().join(", ")
}
