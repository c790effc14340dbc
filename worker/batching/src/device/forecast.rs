//! Admission: whether a request would be done in time, as far as can be foreseen.
//!
//! A refusal at once is worth more to its client than one after the queue has overtaken it, but one too many is lost
//! work. So this foresees the batch that the request would join as batch choice would form it: what runs, what goes
//! before it, who would share it, and who will still come. Called by `device` for each request with a deadline.

use std::time::Duration;

use super::{Device, QueueId};
use crate::{Cancel, Ticket, queue::Queue, quote::Ask, window::with_margin};

/// Share of the arrivals expected until a batch begins that is counted on. Below 1: a request too many in the queue
/// costs a later refusal, one too few an answer.
const EXPECTED_ARRIVALS: f64 = 0.8;

/// What a request would meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    /// When it would be done, as the quote says.
    pub(super) quoted: Duration,
    /// Whether it would be done by its deadline.
    pub(super) in_time: bool,
}

impl<T: Cancel> Device<T> {
    /// Foresees a request in these parts, all of one bucket.
    pub(super) fn foresee(&self, now: Duration, id: QueueId, parts: &[Ticket<T>]) -> Option<Forecast> {
        let (queue, first) = (self.queues.get(&id)?, parts.first()?);
        let sum =
            |of: fn(&Ticket<T>) -> u32| parts.iter().fold(0, |sum: u32, part| sum.saturating_add(of(part)));
        let before = queue.rows_before(now, first);
        let ask = Ask { rows: sum(|part| part.rows), units: sum(|part| part.units), before: Some(before) };
        let quote = self.quote_for(now, id, &first.shape, ask)?;
        let slack = parts.iter().filter_map(|part| part.deadline).min().map(|end| end.saturating_sub(now));
        let in_time = slack.is_none_or(|slack| {
            let meets = Meets { ask, before, begins: quote.begins, idle: self.start_in(now, id).is_zero() };
            queue.must_try(now) || queue.serves(now, first, meets, slack)
        });
        Some(Forecast { quoted: quote.quote, in_time })
    }
}

/// What a request meets in its queue.
#[derive(Debug, Clone, Copy)]
struct Meets {
    ask: Ask,
    /// Rows that go before it.
    before: u64,
    /// Until its batch begins.
    begins: Duration,
    /// Whether a lane is free for it now.
    idle: bool,
}

impl<T: Cancel> Queue<T> {
    /// Whether a request would be done within `slack`: in the batch that it would join, or when that one leaves it out
    /// because it would be too long for it, in the next.
    fn serves(&self, now: Duration, first: &Ticket<T>, meets: Meets, slack: Duration) -> bool {
        let cost = self.costs.of(&first.shape);
        let most = f64::from(self.settings.max_batch_rows.max(1));
        let line = self.line(&first.shape);
        let (waiting, rate) = line.map_or((0, 0.0), |line| (line.rows(), line.arrivals.per_second(now)));
        let units_per_row = f64::from(meets.ask.units) / f64::from(meets.ask.rows.max(1));
        let time = |rows: f64| cost.of_mean(rows * units_per_row);
        let come = |during: Duration| rate * during.as_secs_f64() * EXPECTED_ARRIVALS;

        let own = f64::from(meets.ask.rows).min(most);
        let alone = meets.begins.saturating_add(time(own));
        if meets.idle || alone > slack {
            return alone <= slack;
        }
        let ahead = (meets.before as f64 / most).floor() * most;
        let company = (waiting as f64 - ahead).max(0.0) + come(meets.begins);
        let joined = time((own + company).min(most));
        if meets.begins.saturating_add(with_margin(joined)) <= slack {
            return true;
        }
        let left_out = time(company.min(most));
        let rest = (company - most).max(0.0) + come(left_out);
        let next = time((own + rest).min(most));
        meets.begins.saturating_add(left_out).saturating_add(with_margin(next)) <= slack
    }
}
