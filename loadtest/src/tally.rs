//! Counts what became of requests while a run lasts.
//!
//! One writer at a time behind the engine's lock; turned into a [`crate::Report`] at the end. Every map is bounded,
//! because its keys come from the server.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::{answer::Answer, connection::Failure};

/// Most different keys of one map; the rest is counted under `other`.
const MAX_KEYS: usize = 64;
/// Longest time that the histograms tell apart: one hour, in microseconds.
const MAX_US: u64 = 3_600_000_000;

/// Status of a request that the server did not start.
const REFUSED: u16 = 503;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A response came.
    Answered(Answer),
    /// No response came.
    Failed(Failure),
    /// As many requests as allowed were in flight already.
    NotSent,
}

/// Running counts.
#[derive(Debug, Clone)]
pub struct Tally {
    /// From the due time to the end of the response, in microseconds, of well-formed results.
    pub latency: Histogram<u64>,
    /// From the due time to the end of the response, in microseconds, of answers with status 503.
    pub refusal: Histogram<u64>,
    /// From the due time to the moment it was handed to a connection, in microseconds: what the client itself added.
    pub lag: Histogram<u64>,
    /// How long a result is useful.
    pub deadline: Option<Duration>,
    /// From the start of the run to the latest outcome.
    pub took: Duration,
    /// Requests whose outcome is known.
    pub finished: u64,
    /// Well-formed results.
    pub ok: u64,
    /// Well-formed results within the deadline; all of them when there is none.
    pub in_time: u64,
    /// Requests that were never sent.
    pub not_sent: u64,
    /// Responses with status 200 that are no result.
    pub malformed: u64,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Refusals by `weir-reason`.
    pub reasons: BTreeMap<String, u64>,
    /// Requests without a response, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Results by worker.
    pub workers: BTreeMap<String, u64>,
    /// Labelled rows that were answered.
    pub rows: u64,
    /// Labelled rows that were answered rightly.
    pub correct: u64,
    /// What the first lost request met, for a person.
    pub first_loss: Option<String>,
}

impl Tally {
    /// Nothing counted yet. `deadline` is how long a result is useful.
    ///
    /// # Errors
    /// None in practice: the bounds are constants that the histogram accepts.
    pub fn new(deadline: Option<Duration>) -> Result<Self, hdrhistogram::CreationError> {
        let latency = Histogram::new_with_bounds(1, MAX_US, 3)?;
        Ok(Self {
            lag: latency.clone(),
            refusal: latency.clone(),
            latency,
            deadline,
            took: Duration::ZERO,
            finished: 0,
            ok: 0,
            in_time: 0,
            not_sent: 0,
            malformed: 0,
            statuses: BTreeMap::new(),
            reasons: BTreeMap::new(),
            errors: BTreeMap::new(),
            workers: BTreeMap::new(),
            rows: 0,
            correct: 0,
            first_loss: None,
        })
    }

    /// Requests without a well-formed result so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.finished - self.ok
    }

    /// Notes how long after its due time a request was handed to a connection.
    pub fn sent(&mut self, lag: Duration) {
        self.lag.saturating_record(micros(lag));
    }

    /// Notes what became of a request, `latency` after its due time and `took` after the start of the run.
    pub fn finish(&mut self, took: Duration, latency: Duration, outcome: Outcome) {
        self.took = took;
        self.finished += 1;
        let loss = match outcome {
            Outcome::Answered(Answer::Result { worker, rows, correct }) => {
                self.ok += 1;
                self.in_time += u64::from(self.deadline.is_none_or(|deadline| latency <= deadline));
                self.latency.saturating_record(micros(latency));
                self.rows += rows;
                self.correct += correct;
                count(&mut self.workers, worker.as_deref().unwrap_or("unknown"));
                *self.statuses.entry(200).or_default() += 1;
                return;
            }
            Outcome::Answered(Answer::Status { code, reason, detail }) => {
                *self.statuses.entry(code).or_default() += 1;
                if code == REFUSED {
                    self.refusal.saturating_record(micros(latency));
                }
                if let Some(reason) = reason {
                    count(&mut self.reasons, &reason);
                }
                format!("status {code}: {detail}")
            }
            Outcome::Answered(Answer::Malformed { detail }) => {
                self.malformed += 1;
                *self.statuses.entry(200).or_default() += 1;
                format!("status 200, but no result: {detail}")
            }
            Outcome::Failed(failure) => {
                count(&mut self.errors, &failure.to_string());
                format!("no response: {failure}")
            }
            Outcome::NotSent => {
                self.not_sent += 1;
                "not sent: every connection was in use".to_owned()
            }
        };
        self.first_loss.get_or_insert(loss);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn count(counts: &mut BTreeMap<String, u64>, key: &str) {
    let key = if counts.len() < MAX_KEYS || counts.contains_key(key) { key } else { "other" };
    *counts.entry(key.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(worker: &str) -> Outcome {
        Outcome::Answered(Answer::Result { worker: Some(worker.into()), rows: 2, correct: 1 })
    }

    #[test]
    fn everything_but_a_well_formed_result_is_lost_and_has_no_latency() {
        let mut tally = Tally::new(None).unwrap();
        let status = Answer::Status { code: 503, reason: Some("draining".into()), detail: String::new() };
        for outcome in [
            answer("a"),
            Outcome::Answered(status),
            Outcome::Answered(Answer::Malformed { detail: String::new() }),
            Outcome::Failed(Failure::Reset),
            Outcome::NotSent,
        ] {
            tally.finish(Duration::ZERO, Duration::from_millis(1), outcome);
        }
        assert_eq!((tally.finished, tally.ok, tally.lost(), tally.latency.len()), (5, 1, 4, 1));
        assert_eq!((tally.not_sent, tally.malformed, tally.rows, tally.correct), (1, 1, 2, 1));
        assert_eq!(tally.statuses, BTreeMap::from([(200, 2), (503, 1)]));
        assert_eq!(tally.reasons, BTreeMap::from([("draining".into(), 1)]));
        assert_eq!(tally.errors, BTreeMap::from([("reset".into(), 1)]));
        assert_eq!(tally.first_loss.as_deref(), Some("status 503: "));
    }

    #[test]
    fn a_result_counts_as_in_time_up_to_its_deadline() {
        let ms = Duration::from_millis;
        let mut tally = Tally::new(Some(ms(50))).unwrap();
        for latency in [ms(1), ms(50), ms(51)] {
            tally.finish(Duration::ZERO, latency, answer("a"));
        }
        assert_eq!((tally.ok, tally.in_time, tally.lost()), (3, 2, 0));
        let mut tally = Tally::new(None).unwrap();
        tally.finish(Duration::ZERO, ms(1_000), answer("a"));
        assert_eq!(tally.in_time, 1);
    }

    #[test]
    fn how_long_refusals_took_is_kept_apart_from_results_and_other_errors() {
        let mut tally = Tally::new(None).unwrap();
        for (code, millis) in [(503, 7), (504, 60), (400, 80), (503, 9)] {
            let status = Answer::Status { code, reason: None, detail: String::new() };
            tally.finish(Duration::ZERO, Duration::from_millis(millis), Outcome::Answered(status));
        }
        tally.finish(Duration::ZERO, Duration::from_millis(20), answer("a"));
        assert_eq!((tally.refusal.len(), tally.refusal.min(), tally.latency.len()), (2, 7_000, 1));
        assert!(tally.refusal.equivalent(tally.refusal.max(), 9_000));
    }

    #[test]
    fn names_from_the_server_cannot_grow_the_report_without_end() {
        let mut tally = Tally::new(None).unwrap();
        for index in 0..1_000 {
            tally.finish(Duration::ZERO, Duration::ZERO, answer(&index.to_string()));
        }
        assert_eq!((tally.workers.len(), tally.workers["other"]), (MAX_KEYS + 1, 1_000 - MAX_KEYS as u64));
    }
}
