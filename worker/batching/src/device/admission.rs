//! Who gets in: a request that would not be done in time is refused at once.
//!
//! Fills what `forecast` reckons with. Called by `device` for each request, and after each batch for those that it left.

use std::time::Duration;

use weir_protocol::Refusal;

use super::{Device, QueueId};
use crate::{Cancel, ShapeKey, Ticket, forecast::Starts, quote::Ask};

/// What a request would meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    /// When it would be done, as the quote says.
    pub(super) quoted: Duration,
    /// Whether it would be done by its deadline.
    pub(super) in_time: bool,
}

impl<T: Cancel> Device<T> {
    /// Why a request of one row would certainly be refused now, known before more is known of it than its deadline;
    /// `None` when it might get in. Costs next to nothing.
    pub fn refuses(&mut self, now: Duration, queue: QueueId, deadline: Option<Duration>) -> Option<Refusal> {
        let Some(found) = self.queues.get(&queue) else { return Some(Refusal::NotReady) };
        // Where clients choose shapes, one that nothing is known of yet may be cheaper than all that are known.
        let fixed = found.costs.lines().all(|(shape, _)| *shape == ShapeKey::default());
        let least = if fixed { found.costs.of(&ShapeKey::default()).of(1) } else { Duration::ZERO };
        let hopeless = |deadline: Duration| {
            deadline <= now
                || !found.must_try(now)
                    && now.saturating_add(self.start_in(now, queue)).saturating_add(least) > deadline
        };
        if deadline.is_some_and(hopeless) {
            return Some(Refusal::Deadline);
        }
        self.is_full(now, queue).then_some(Refusal::QueueFull)
    }

    /// Foresees a request in these parts, all of one bucket.
    pub(super) fn foresee(&self, now: Duration, id: QueueId, parts: &[Ticket<T>]) -> Option<Forecast> {
        let (queue, first) = (self.queues.get(&id)?, parts.first()?);
        let sum =
            |of: fn(&Ticket<T>) -> u32| parts.iter().fold(0, |sum: u32, part| sum.saturating_add(of(part)));
        let before = queue.rows_before(now, first);
        let ask = Ask { rows: sum(|part| part.rows), units: sum(|part| part.units), before: Some(before) };
        let quote = self.quote_for(now, id, &first.shape, ask)?;
        let deadline = parts.iter().filter_map(|part| part.deadline).min();
        let in_time = deadline.is_none_or(|deadline| {
            let slack = deadline.saturating_sub(now);
            if queue.must_try(now) {
                return true;
            }
            // Where a lane is free, batch choice decides at once.
            if self.start_in(now, id).is_zero() {
                return queue.costs.of(&first.shape).of(first.units) <= slack;
            }
            let starts = self.starts_among(now, id, queue, quote.others);
            let outlook = queue.outlook(now, &first.shape, first.class, ask);
            let waiting = queue.rows_with(&first.shape, first.class);
            outlook.in_time(starts, before as f64, waiting as f64, slack)
        });
        Some(Forecast { quoted: quote.quote, in_time })
    }

    /// When lanes are free for what a batch left behind in a bucket; `None` when one is free now or nothing is left.
    pub(super) fn starts_of_left(&self, now: Duration, id: QueueId, shape: &ShapeKey) -> Option<Starts> {
        let queue = self.queues.get(&id)?;
        if queue.rows() == 0 || self.start_in(now, id).is_zero() {
            return None;
        }
        let ask = Ask { before: Some(0), ..Ask::default() };
        let others = self.quote_for(now, id, shape, ask)?.others;
        Some(self.starts_among(now, id, queue, others))
    }
}
