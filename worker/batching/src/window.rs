//! Which of the tickets that wait in one bucket run together now.
//!
//! Pure arithmetic over ordered ranks. A batch that finishes later must leave out those that are due sooner, and a small
//! one that waits for nobody wastes the part of a batch that every batch pays. So: of all times at which the batch could
//! be done, the one that lets the most units be done by then, all of them in time. `queue` calls it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    BatchCost,
    queue::rank::{Rank, Weight},
};

/// Batches are chosen as if they took so much longer than expected, in percent. In simulation a cost that is 20 % too low
/// costs 16 points of what is answered in time, and this margin wins them back (docs/adr/0007-batch-choice.md).
const MARGIN_PERCENT: u32 = 25;

/// A time with the margin of batch choice and admission.
pub(crate) fn with_margin(time: Duration) -> Duration {
    stretched(time, MARGIN_PERCENT)
}

/// A time that is so many percent longer.
pub(crate) fn stretched(time: Duration, percent: u32) -> Duration {
    time.saturating_add(time.saturating_mul(percent) / 100)
}

/// What bounds a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) now: Duration,
    /// What a batch of this bucket costs.
    pub(crate) cost: BatchCost,
    /// Most rows; at least 1.
    pub(crate) max_rows: u32,
}

/// A choice, in the order in which the tickets stood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) taken: Vec<(u64, Weight)>,
    pub(crate) rows: u32,
    pub(crate) units: u32,
    /// The latest deadline of those that were passed over.
    passed: Duration,
    /// The next in order did not fit any more.
    closed: bool,
}

/// Chooses from ranks, the highest class first. Empty only when the ranks are.
///
/// The highest class gets the largest batch that it can have in time; lower ones fill it up as far as nobody becomes
/// late by it. Where nothing can be in time with the margin, it is tried without; where not even that, the first ticket
/// runs alone (hopeless ones should have been dropped before).
pub(crate) fn choose(ranks: &BTreeMap<u8, Rank>, bounds: &Bounds) -> Pick {
    let mut pick = Pick::default();
    for rank in ranks.values() {
        pick.extend(rank, bounds, MARGIN_PERCENT);
        if pick.taken.is_empty() {
            pick.extend(rank, bounds, 0);
        }
        if pick.closed || pick.rows >= bounds.max_rows {
            break;
        }
    }
    if pick.taken.is_empty()
        && let Some((sequence, weight)) = ranks.values().find_map(|rank| rank.in_order().next())
    {
        pick.take(sequence, weight);
    }
    pick
}

impl Pick {
    fn take(&mut self, sequence: u64, weight: Weight) {
        self.taken.push((sequence, weight));
        self.rows = self.rows.saturating_add(weight.rows);
        self.units = self.units.saturating_add(weight.units);
    }

    /// The earliest deadline in it.
    pub(crate) fn tightest(&self) -> Duration {
        self.taken.iter().map(|(_, weight)| weight.deadline).min().unwrap_or(Duration::MAX)
    }

    /// Leaves only the first tickets, of at most `rows` rows together; one at least.
    pub(crate) fn cut(&mut self, rows: u32) {
        let mut pick = Self::default();
        for (sequence, weight) in self.taken.drain(..) {
            if !pick.taken.is_empty() && pick.rows.saturating_add(weight.rows) > rows {
                break;
            }
            pick.take(sequence, weight);
        }
        *self = pick;
    }

    /// Adds what one class can bring.
    fn extend(&mut self, rank: &Rank, bounds: &Bounds, margin: u32) {
        let mut limit = self.tightest();
        let done_by = self.best_end(rank, bounds, margin).min(limit);
        let mut passed = self.passed;
        for (sequence, weight) in rank.in_order() {
            // Who would have been passed over in a higher class is so in this one: equals run as they came.
            if weight.deadline < done_by || weight.deadline <= self.passed {
                passed = passed.max(weight.deadline);
                continue;
            }
            let tighter = limit.min(weight.deadline);
            let late = self.units.saturating_add(weight.units) > affordable(bounds, tighter, margin);
            if self.taken.is_empty() {
                if late {
                    continue;
                }
            } else if late || self.rows.saturating_add(weight.rows) > bounds.max_rows {
                // It is not overtaken by smaller ones behind it, nor by those of lower classes.
                self.closed = true;
                break;
            }
            limit = tighter;
            self.take(sequence, weight);
        }
        if !self.taken.is_empty() {
            self.passed = passed;
        }
    }

    /// The time by which the batch should be done: the earliest of those that let the most units in. Only the deadlines
    /// that a full batch would break have to be tried.
    fn best_end(&self, rank: &Rank, bounds: &Bounds, margin: u32) -> Duration {
        let room = self.room_units(rank, bounds);
        let full = bounds.cost.of(self.units.saturating_add(room));
        let full_end = bounds.now.saturating_add(stretched(full, margin)).min(self.tightest());
        let value = |end, left: u64| {
            let in_time = affordable(bounds, end, margin).saturating_sub(self.units);
            u64::from(in_time.min(room)).min(left)
        };
        let (mut left, mut best) = (rank.units(), (0, full_end));
        for (deadline, _, units) in rank.due_before(full_end) {
            let value = value(deadline, left);
            if value > best.0 {
                best = (value, deadline);
            }
            left = left.saturating_sub(u64::from(units));
        }
        if value(full_end, left) > best.0 { full_end } else { best.1 }
    }

    /// Units for which the batch has room, by rows.
    fn room_units(&self, rank: &Rank, bounds: &Bounds) -> u32 {
        let rows = u64::from(bounds.max_rows.saturating_sub(self.rows));
        let units = rows.saturating_mul(rank.units()).checked_div(rank.rows()).unwrap_or(0);
        u32::try_from(units.max(rows)).unwrap_or(u32::MAX)
    }
}

/// Most units of a batch that starts now and is done by `end`.
fn affordable(bounds: &Bounds, end: Duration, margin: u32) -> u32 {
    if end == Duration::MAX {
        return u32::MAX;
    }
    let time = end.saturating_sub(bounds.now).as_nanos().saturating_mul(100);
    let bare = time.div_ceil(u128::from(100 + margin));
    let units = bare.saturating_sub(bounds.cost.base.as_nanos()) / bounds.cost.per_unit.as_nanos().max(1);
    u32::try_from(units).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
