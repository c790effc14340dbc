//! The worker's own estimate of when one more request would finish.
//!
//! Pure arithmetic over plain views that `device` fills: what runs, what waits and what arrives, of the bucket that the
//! request would join and of all others on the device. Constant time per bucket that is not empty. The formulas and
//! their letters are in docs/BATCHING.md. No margin is added: margins belong to batch choice and admission.

use std::time::Duration;

use self::place::Place;
use crate::{BatchCost, cost::seconds};

mod bucket;
mod place;

/// A row takes at least this many seconds for the capacity: it stays finite.
const LEAST_SECONDS: f64 = 1e-9;

/// What a queue says of one more request of one unit, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quote {
    /// Device time of the batches of other buckets that go before its own, when they fill up.
    pub others: Duration,
    /// From now until its answer is there.
    pub quote: Duration,
    /// The same, pessimistically: the batches ahead of it and its own will fill up. Never less than `quote`.
    pub quote_admission: Duration,
    /// What it would be on an idle device.
    pub floor: Duration,
    /// Device time that one more unit takes at full batches.
    pub marginal: Duration,
    /// Rows per second at full batches; finite.
    pub capacity: f64,
    /// Time until everything that is queued on the device now has run.
    pub device_ahead: Duration,
}

/// The request that a quote is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Its rows; more than a batch has are spread over several.
    pub rows: u32,
    /// Its units; at least as many as rows.
    pub units: u32,
    /// Rows of its bucket that go before it; `None` = all that wait, which it joins at the end.
    pub before: Option<u64>,
}

impl Default for Ask {
    /// One row of one unit: what reports are about.
    fn default() -> Self {
        Self { rows: 1, units: 1, before: None }
    }
}

/// A device, as the quote sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceView {
    /// Batches that run at the same time, over all queues; at least 1.
    pub lanes: u32,
    /// Until one of those lanes is free: [`free_in`] of everything that runs. Zero when one is free.
    pub free_in: Duration,
    /// Until the device takes work at all (a load or a warm-up that blocks it); usually zero.
    pub down: Duration,
}

/// One bucket of one queue, as the quote sees it: what waits there, and what its batches are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketView {
    /// What a batch costs now, the queue's scale included ([`crate::Costs::of`]).
    pub cost: BatchCost,
    /// Batches of the queue that may run at the same time; at least 1.
    pub lanes: u32,
    /// Until one of the queue's own lanes is free: [`free_in`] of its own batches. Zero when one is free.
    pub free_in: Duration,
    /// Most rows that its batches have; at least 1.
    pub batch_rows: u32,
    /// Rows at which a batch waits no longer for company: `batch_rows`, or the smallest preferred size.
    pub ready_rows: u32,
    /// Longest wait for company while a lane is free.
    pub max_queue_delay: Duration,
    /// Rows that wait.
    pub queued_rows: u64,
    /// Their units.
    pub queued_units: u64,
    /// How long the oldest of them has waited; zero when none waits.
    pub oldest: Duration,
    /// What the turn order adds to the arrival: zero, or a tenth of the queue's default timeout.
    pub turn_offset: Duration,
    /// Rows that arrive per second ([`crate::Arrivals::per_second`]).
    pub arrivals: f64,
}

/// What is left of a batch that was expected to take `expected` and has run for `elapsed`. One that takes longer than
/// expected is given a quarter of what it took already.
#[must_use]
pub fn residual(expected: Duration, elapsed: Duration) -> Duration {
    expected.saturating_sub(elapsed).max(elapsed / 4)
}

/// Until one of `lanes` is free, by what is left of each batch that runs on them.
#[must_use]
pub fn free_in(lanes: u32, residuals: impl Iterator<Item = Duration>) -> Duration {
    let (mut running, mut first) = (0_u32, Duration::MAX);
    for residual in residuals {
        running = running.saturating_add(1);
        first = first.min(residual);
    }
    if running < lanes { Duration::ZERO } else { first }
}

/// What `ask` would be told if it joined `bucket` now. `others` are the other buckets on the device, those of the same
/// queue included; empty ones may be left out.
#[must_use]
pub fn quote(
    device: &DeviceView,
    bucket: &BucketView,
    others: impl Iterator<Item = BucketView>,
    ask: Ask,
) -> Quote {
    let place = Place::of(bucket, ask);
    let mut queued = bucket.work(bucket.line());
    let mut older = Vec::new();
    for other in others {
        let line = other.line();
        queued += other.work(line);
        older.extend(other.before(&place, line));
    }
    let work = |fill: f64, during: Duration| {
        let halved = fill * during.as_secs_f64() / 2.0;
        seconds(older.iter().map(|older| older.work(halved)).sum())
    };
    let ahead = |others: Duration| place.ahead(device, bucket, others);
    let now = ahead(work(0.0, Duration::ZERO));
    let half = ahead(work(0.5, now));
    let others = work(1.0, now);
    let full = ahead(others);

    let marginal = bucket.marginal() / bucket.lanes_on(device);
    let seconds_per_row = (marginal.as_secs_f64() * bucket.mean_units()).max(LEAST_SECONDS);
    Quote {
        others,
        quote: half.saturating_add(bucket.cost.of_mean(place.units)),
        quote_admission: full.saturating_add(bucket.cost.of_mean(place.units_filled(bucket, full))),
        floor: bucket.floor(),
        marginal,
        capacity: 1.0 / seconds_per_row,
        device_ahead: device.free_in.saturating_add(seconds(queued) / device.lanes.max(1)),
    }
}

#[cfg(test)]
mod tests;
