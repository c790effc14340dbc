//! What is counted in a run, by stream, and the figures that come of it. Requests of the warm-up do not count.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::simulate::batching::{figure::Figure, request::Request, scenario::Scenario};

/// Significant digits of the histograms.
const DIGITS: u8 = 3;

/// The counts of a run.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    warm_up: Duration,
    lanes: u32,
    took: Duration,
    busy: Duration,
    batches: u64,
    rows: u64,
    quotes: BTreeMap<u64, Duration>,
    /// |quoted - actual| / actual, in thousandths.
    quote_error: Counts,
    streams: Vec<Kind>,
}

/// The counts of one stream.
#[derive(Debug, Clone, Default)]
struct Kind {
    name: String,
    offered: u64,
    in_time: u64,
    refused: u64,
    /// From arrival to the answer, in microseconds; late ones included.
    latency: Counts,
    /// From arrival to the word that there will be no answer, in microseconds.
    refusal: Counts,
}

/// A histogram, or nothing yet.
#[derive(Debug, Clone, Default)]
struct Counts(Option<Histogram<u64>>);

impl Counts {
    fn note(&mut self, value: u64) {
        if self.0.is_none() {
            self.0 = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            // A histogram that resizes itself takes every value.
            let _ = histogram.record(value);
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(ours), Some(theirs)) => drop(ours.add(theirs)),
            (None, theirs) => self.0.clone_from(theirs),
            (Some(_), None) => {}
        }
    }

    /// A quantile, in thousandths of what was noted; zero of nothing.
    fn thousandth_at(&self, quantile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.value_at_quantile(quantile) as f64 / 1e3)
    }
}

impl Tally {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let kind = |name: &String| Kind { name: name.clone(), ..Kind::default() };
        Self {
            warm_up: scenario.warm_up,
            lanes: scenario.lanes,
            took: Duration::ZERO,
            busy: Duration::ZERO,
            batches: 0,
            rows: 0,
            quotes: BTreeMap::new(),
            quote_error: Counts::default(),
            streams: scenario.stream.iter().map(|stream| kind(&stream.name)).collect(),
        }
    }

    pub(crate) fn offered(&mut self, request: &Request) {
        if let Some(kind) = self.kind(request) {
            kind.offered += 1;
        }
    }

    pub(crate) fn quoted(&mut self, request: &Request, quote: Option<Duration>) {
        if let (Some(quote), true) = (quote, request.arrived >= self.warm_up) {
            self.quotes.insert(request.id, quote);
        }
    }

    /// Refused at the door.
    pub(crate) fn refused(&mut self, now: Duration, request: &Request) {
        if let Some(kind) = self.kind(request) {
            kind.refused += 1;
            kind.refusal.note(micros(now.saturating_sub(request.arrived)));
        }
    }

    /// Taken in, and sent away without running.
    pub(crate) fn dropped(&mut self, now: Duration, request: &Request) {
        self.quotes.remove(&request.id);
        if let Some(kind) = self.kind(request) {
            kind.refusal.note(micros(now.saturating_sub(request.arrived)));
        }
    }

    pub(crate) fn started(&mut self, now: Duration, rows: u32, took: Duration) {
        if now >= self.warm_up {
            self.busy += took;
            self.batches += 1;
            self.rows += u64::from(rows);
        }
    }

    pub(crate) fn answered(&mut self, now: Duration, requests: &[Request]) {
        for request in requests {
            let latency = now.saturating_sub(request.arrived);
            if let Some(quote) = self.quotes.remove(&request.id) {
                let error = quote.abs_diff(latency).as_secs_f64() / latency.as_secs_f64().max(1e-6);
                self.quote_error.note((error * 1e3).round() as u64);
            }
            if let Some(kind) = self.kind(request) {
                kind.in_time += u64::from(request.deadline.is_none_or(|deadline| now <= deadline));
                kind.latency.note(micros(latency));
            }
        }
    }

    /// The run is over.
    pub(crate) fn end(&mut self, now: Duration) {
        self.took = now.saturating_sub(self.warm_up);
    }

    /// A figure of one stream, or of all; zero where nothing was counted.
    pub(crate) fn figure(&self, figure: Figure, stream: Option<&str>) -> f64 {
        let of = self.sum(stream);
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        match figure {
            Figure::InTime => share(of.in_time, of.offered),
            Figure::Refused => share(of.refused, of.offered),
            Figure::RefusalP99 => of.refusal.thousandth_at(0.99),
            Figure::LatencyP50 => of.latency.thousandth_at(0.5),
            Figure::LatencyP99 => of.latency.thousandth_at(0.99),
            Figure::BatchRows => share(self.rows, self.batches),
            Figure::Busy => {
                self.busy.as_secs_f64() / (self.took.as_secs_f64() * f64::from(self.lanes)).max(1e-9)
            }
            Figure::QuoteErrorP50 => self.quote_error.thousandth_at(0.5),
            Figure::QuoteErrorP95 => self.quote_error.thousandth_at(0.95),
        }
    }

    /// Mean time to an answer.
    #[cfg(test)]
    pub(crate) fn mean_latency(&self) -> Duration {
        let latency = self.sum(None).latency.0;
        Duration::from_secs_f64(latency.map_or(0.0, |latency| latency.mean()) / 1e6)
    }

    /// Requests that came, and those of which the end is known.
    #[cfg(test)]
    pub(crate) fn offered_and_gone(&self) -> (u64, u64) {
        let sum = self.sum(None);
        let count = |counts: &Counts| counts.0.as_ref().map_or(0, Histogram::len);
        (sum.offered, count(&sum.latency) + count(&sum.refusal))
    }

    fn sum(&self, stream: Option<&str>) -> Kind {
        let mut sum = Kind::default();
        for kind in self.streams.iter().filter(|kind| stream.is_none_or(|name| kind.name == name)) {
            sum.offered += kind.offered;
            sum.in_time += kind.in_time;
            sum.refused += kind.refused;
            sum.latency.merge(&kind.latency);
            sum.refusal.merge(&kind.refusal);
        }
        sum
    }

    fn kind(&mut self, request: &Request) -> Option<&mut Kind> {
        if request.arrived < self.warm_up { None } else { self.streams.get_mut(request.stream) }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
