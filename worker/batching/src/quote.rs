//! The worker's own estimate of when one more request would finish.
//!
//! Pure arithmetic over plain views that `device` fills: what runs, what waits and what arrives, of the bucket that the
//! request would join and of all others on the device. Constant time per bucket that is not empty. The formulas and
//! their letters are in docs/BATCHING.md. No margin is added: margins belong to batch choice and admission.

use std::time::Duration;

use crate::{
    BatchCost,
    cost::{seconds, times},
};

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

/// Where in its bucket a request would stand.
struct Place {
    /// Full batches ahead of its own (of its last rows, when it has more than one batch takes).
    batches: u64,
    /// Device time of those.
    work: Duration,
    /// Rows of its batch as it stands, its own included.
    rows: u64,
    /// Units of its batch as it stands, its own included.
    units: f64,
    /// The same, if each of its own rows counts for no less than the bucket's mean.
    units_at_least: f64,
    /// Time since the head of its batch came, less what the turn order adds to arrivals: negative = later than now.
    age: f64,
}

impl Place {
    fn of(bucket: &BucketView, ask: Ask) -> Self {
        let (rows, most, mean) = (u64::from(ask.rows.max(1)), bucket.most(), bucket.mean_units());
        let before = ask.before.map_or(bucket.queued_rows, |before| before.min(bucket.queued_rows));
        let last = before.saturating_add(rows - 1);
        let (batches, own) = (last / most, rows.min(last % most + 1));
        // Others' rows in earlier batches, and in its own: those that go before it and those that only join.
        let earlier = before - (last % most + 1 - own);
        let joined = (bucket.queued_rows - earlier).min(most - own);
        let each = f64::from(ask.units.max(1)) / float(rows);
        let units_earlier = float(earlier) * mean + float(rows - own) * each;
        Self {
            batches,
            work: times(bucket.cost.base, float(batches))
                .saturating_add(times(bucket.cost.per_unit, units_earlier)),
            rows: joined + own,
            units: float(joined) * mean + float(own) * each,
            units_at_least: float(joined) * mean + float(own) * each.max(mean),
            age: bucket.age_of(batches.saturating_mul(most)) - bucket.turn_offset.as_secs_f64(),
        }
    }

    /// Time until its batch begins, when so much work of other buckets goes first.
    fn ahead(&self, device: &DeviceView, bucket: &BucketView, others: Duration) -> Duration {
        // Its own lanes and those of the device are two bounds: whichever is later counts.
        let own_lanes = bucket.free_in.saturating_add(self.work / bucket.lanes_on(device));
        let all = self.work.saturating_add(others) / device.lanes.max(1);
        let all_lanes = device.free_in.saturating_add(all);
        let begins = own_lanes.max(all_lanes);
        device.down.saturating_add(begins).saturating_add(self.wait(device, bucket))
    }

    /// Time that it waits for company, which only a batch does that could run at once.
    fn wait(&self, device: &DeviceView, bucket: &BucketView) -> Duration {
        let idle = device.free_in.is_zero() && bucket.free_in.is_zero();
        let alone = self.batches == 0 && self.rows < u64::from(bucket.ready_rows);
        if idle && alone { bucket.max_queue_delay.saturating_sub(bucket.oldest) } else { Duration::ZERO }
    }

    /// Units of its batch when half of what arrives in `ahead` joins it.
    fn units_filled(&self, bucket: &BucketView, ahead: Duration) -> f64 {
        let room = float(bucket.most() - self.rows);
        self.units_at_least + bucket.arrive(ahead / 2).min(room) * bucket.mean_units()
    }
}

impl BucketView {
    /// Most rows of a batch, at least 1.
    fn most(&self) -> u64 {
        u64::from(self.batch_rows.max(1))
    }

    fn lanes_on(&self, device: &DeviceView) -> u32 {
        self.lanes.min(device.lanes).max(1)
    }

    /// Units of a row that waits, on average; 1 when none does.
    fn mean_units(&self) -> f64 {
        if self.queued_rows == 0 {
            1.0
        } else {
            (float(self.queued_units) / float(self.queued_rows)).max(1.0)
        }
    }

    /// Time of a full batch.
    fn full(&self) -> Duration {
        self.rows_take(float(self.most()))
    }

    fn rows_take(&self, rows: f64) -> Duration {
        self.cost.of_mean(rows * self.mean_units())
    }

    /// Time of one unit in full batches.
    fn marginal(&self) -> Duration {
        times(self.full(), 1.0 / (float(self.most()) * self.mean_units()))
    }

    /// A lone request of one unit on an idle device.
    fn floor(&self) -> Duration {
        let wait = if self.ready_rows > 1 { self.max_queue_delay } else { Duration::ZERO };
        self.cost.of_mean(1.0).saturating_add(wait)
    }

    /// Rows that arrive in this time at the present rate.
    fn arrive(&self, time: Duration) -> f64 {
        self.arrivals.max(0.0) * time.as_secs_f64()
    }

    /// Seconds since the row at this position came, as if they had come evenly; 0 past the end.
    fn age_of(&self, position: u64) -> f64 {
        let after = self.queued_rows.saturating_sub(position);
        if after == 0 { 0.0 } else { self.oldest.as_secs_f64() * (float(after) / float(self.queued_rows)) }
    }

    fn line(&self) -> Line {
        Line {
            base: self.cost.base.as_secs_f64(),
            per_row: self.cost.per_unit.as_secs_f64() * self.mean_units(),
        }
    }

    /// Device time of everything that waits, in seconds.
    fn work(&self, line: Line) -> f64 {
        float(self.queued_rows.div_ceil(self.most())) * line.base + float(self.queued_rows) * line.per_row
    }

    /// The batches that go before `place`; `None` when there are none.
    fn before(&self, place: &Place, line: Line) -> Option<Older> {
        let batches = self.batches_older(place.age + self.turn_offset.as_secs_f64());
        let most = batches.saturating_mul(self.most());
        let rows = self.queued_rows.min(most);
        (batches > 0).then(|| Older {
            work: float(batches) * line.base + float(rows) * line.per_row,
            per_row: line.per_row,
            room: float(most - rows),
            arrivals: self.arrivals.max(0.0),
        })
    }

    /// Batches that wait and whose head came more than `age` seconds ago, as if their rows had come evenly.
    fn batches_older(&self, age: f64) -> u64 {
        let oldest = self.oldest.as_secs_f64();
        if self.queued_rows == 0 || oldest <= age {
            return 0;
        }
        let batches = self.queued_rows.div_ceil(self.most());
        // The head of batch i has waited oldest (1 - i B / N).
        let heads = float(self.queued_rows) / float(self.most()) * (1.0 - (age / oldest).max(0.0));
        (heads.ceil() as u64).clamp(1, batches)
    }
}

/// A bucket's cost in seconds. Sums over all buckets are made of floats: of durations they would take several times as
/// long, and a quote is made for every request.
#[derive(Clone, Copy)]
struct Line {
    base: f64,
    per_row: f64,
}

/// Batches of another bucket that go before a request. In seconds.
struct Older {
    /// Device time of those rows that wait now.
    work: f64,
    /// What one more row adds to the last batch.
    per_row: f64,
    /// Rows that the last batch still takes.
    room: f64,
    /// Rows that arrive per second.
    arrivals: f64,
}

impl Older {
    /// Their device time, when what arrives in so many seconds joins the last of them.
    fn work(&self, during: f64) -> f64 {
        self.work + (self.arrivals * during).min(self.room) * self.per_row
    }
}

/// Counts are far below 2^53, where a float still has every whole number.
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
