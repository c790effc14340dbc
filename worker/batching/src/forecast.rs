//! What the next batches of a bucket will be like, as far as can be foreseen.
//!
//! Pure arithmetic over numbers that `device` fills: when lanes become free, what waits, what still comes. Tells whether a
//! request would be done in time, so that one that would not is refused at once, and which of those that wait will be
//! left out again by the batch after this one. A refusal too many is an answer lost; one too few is a refusal that comes
//! later. So it is sure of little: it counts on few arrivals, and whom the queue can tell soon it lets try.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::{
    BatchCost,
    window::{self, with_margin},
};

/// Arrivals that are counted on are the expected ones less so many of their standard deviations (arrivals that do not
/// know of each other: the square root of their number). At 0.75 the answers lost to wrong refusals are at most 1 % of the
/// requests, and 99 % of refusals at 1.5 times capacity come within a third of the deadline (docs/adr/0007-batch-choice.md).
const DOUBT: f64 = 0.75;

/// A request whose batch begins within this part of the time that it has is let in whatever the company that it will
/// have: it is refused soon enough if that batch must leave it out.
const SOON: u32 = 4;

/// A batch that goes before a request is counted as if it took so much longer than expected, in percent. A queue of
/// whole batches needs not reach to the very edge of the deadlines to keep lanes busy, and where it does, batches that
/// vary by 10 % make it drop at the end what it let in: with this none is, up to 20 %, and the batches stay full.
const AHEAD_PERCENT: u32 = 50;

/// When lanes are free for a bucket, from now.
#[derive(Debug, Clone)]
pub(crate) struct Starts {
    free: BinaryHeap<Reverse<Duration>>,
    /// To be added to each.
    delay: Duration,
}

impl Starts {
    /// So many lanes, of which some are busy for so long. Of more batches than lanes the last to end count.
    pub(crate) fn new(lanes: u32, busy: impl Iterator<Item = Duration>) -> Self {
        let lanes = usize::try_from(lanes.max(1)).unwrap_or(usize::MAX);
        let mut free: BinaryHeap<_> = busy.map(Reverse).collect();
        while free.len() > lanes {
            free.pop();
        }
        free.extend(std::iter::repeat_n(Reverse(Duration::ZERO), lanes - free.len()));
        Self { free, delay: Duration::ZERO }
    }

    /// None before this.
    pub(crate) fn not_before(self, earliest: Duration) -> Self {
        let free = self.free.into_iter().map(|Reverse(free)| Reverse(free.max(earliest))).collect();
        Self { free, ..self }
    }

    /// All of them later by so much.
    pub(crate) fn delayed(self, delay: Duration) -> Self {
        Self { delay: self.delay.saturating_add(delay), ..self }
    }

    /// When the next batch begins.
    pub(crate) fn first(&self) -> Duration {
        self.free.peek().map_or(Duration::MAX, |Reverse(first)| first.saturating_add(self.delay))
    }

    /// Lets so many batches go first that take so long each.
    fn run(&mut self, batches: u64, each: Duration) {
        let lanes = u64::try_from(self.free.len()).unwrap_or(u64::MAX).max(1);
        let rounds = u32::try_from(batches / lanes).unwrap_or(u32::MAX);
        self.delay = self.delay.saturating_add(each.saturating_mul(rounds));
        for _ in 0..batches % lanes {
            if let Some(mut first) = self.free.peek_mut() {
                first.0 = first.0.saturating_add(each);
            }
        }
    }
}

/// A bucket, as a request sees it that is in it or would join it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outlook {
    /// What its batches cost.
    pub(crate) cost: BatchCost,
    /// Most rows of a batch.
    pub(crate) max_rows: f64,
    /// Rows of a request.
    pub(crate) rows: f64,
    /// Units of a row.
    pub(crate) units_per_row: f64,
    /// Rows per second that arrive and go first: those of higher classes.
    pub(crate) rate_above: f64,
    /// Rows per second that arrive of its class and higher.
    pub(crate) rate: f64,
}

impl Outlook {
    /// Whether a request would be done within `slack`: in the batch that it would join or, when that one would leave it
    /// out because it would be too long for it, in the next. `before` rows that wait go first; `waiting` are they and
    /// those that might share its batch.
    pub(crate) fn in_time(&self, mut starts: Starts, before: f64, waiting: f64, slack: Duration) -> bool {
        let own = self.rows.min(self.max_rows);
        let before = before + self.come(self.rate_above, starts.first());
        // Its last rows count, when it has more than one batch takes.
        let (first, all) = (before + self.rows - own, waiting + self.rows - own);
        let full = (first / self.max_rows).floor();
        starts.run(full as u64, ahead(self.time(self.max_rows)));
        let tail = first - full * self.max_rows;
        let fits = tail + own <= self.max_rows;
        if !fits {
            starts.run(1, ahead(self.time(tail)));
        }
        let gone = if fits { full * self.max_rows } else { first };
        let begins = starts.first();
        if begins.saturating_add(self.time(own)) > slack {
            return false;
        }
        if begins <= slack / SOON {
            return true;
        }
        let company = (all - gone).max(0.0) + self.come(self.rate, begins);
        if begins.saturating_add(with_margin(self.time(own + company))) <= slack {
            return true;
        }
        starts.run(1, self.time(company));
        let next = starts.first();
        let left = (company - self.max_rows).max(0.0) + self.come(self.rate, next.saturating_sub(begins));
        next.saturating_add(with_margin(self.time(own + left))) <= slack
    }

    /// Whether the next batch would leave out a request that has `slack` left and waits with so many rows, its own
    /// included, that have as much or more, because it would be too long for it.
    pub(crate) fn overtaken(&self, starts: &Starts, waiting: f64, slack: Duration) -> bool {
        let begins = starts.first();
        let company = waiting + self.come(self.rate, begins);
        begins.saturating_add(with_margin(self.time(company))) > slack
    }

    /// The slack from which on no request is overtaken.
    pub(crate) fn ample(&self, starts: &Starts) -> Duration {
        starts.first().saturating_add(with_margin(self.time(self.max_rows)))
    }

    /// Time of a batch of so many rows, or of a full one.
    fn time(&self, rows: f64) -> Duration {
        self.cost.of_mean(rows.min(self.max_rows) * self.units_per_row)
    }

    /// Rows that are sure enough to come in this time.
    fn come(&self, rate: f64, during: Duration) -> f64 {
        let expected = rate * during.as_secs_f64();
        (expected - DOUBT * (expected * self.rows).sqrt()).max(0.0)
    }
}

/// A batch that goes first, with the margin for such.
fn ahead(time: Duration) -> Duration {
    window::stretched(time, AHEAD_PERCENT)
}

#[cfg(test)]
mod tests;
