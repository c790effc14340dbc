//! What a bucket's view says of its batches: their time, their heads, and those that go before a request elsewhere.
//!
//! Pure arithmetic, called by `quote` and `place`.

use std::time::Duration;

use super::{BucketView, DeviceView, place::Place};
use crate::cost::times;

impl BucketView {
    /// Most rows of a batch, at least 1.
    pub(super) fn most(&self) -> u64 {
        u64::from(self.batch_rows.max(1))
    }

    pub(super) fn lanes_on(&self, device: &DeviceView) -> u32 {
        self.lanes.min(device.lanes).max(1)
    }

    /// Units of a row that waits, on average; 1 when none does.
    pub(super) fn mean_units(&self) -> f64 {
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
    pub(super) fn marginal(&self) -> Duration {
        times(self.full(), 1.0 / (float(self.most()) * self.mean_units()))
    }

    /// A lone request of one unit on an idle device.
    pub(super) fn floor(&self) -> Duration {
        let wait = if self.ready_rows > 1 { self.max_queue_delay } else { Duration::ZERO };
        self.cost.of_mean(1.0).saturating_add(wait)
    }

    /// Rows that arrive in this time at the present rate.
    pub(super) fn arrive(&self, time: Duration) -> f64 {
        self.arrivals.max(0.0) * time.as_secs_f64()
    }

    /// Seconds since the row at this position came, as if they had come evenly; 0 past the end.
    pub(super) fn age_of(&self, position: u64) -> f64 {
        let after = self.queued_rows.saturating_sub(position);
        if after == 0 { 0.0 } else { self.oldest.as_secs_f64() * (float(after) / float(self.queued_rows)) }
    }

    pub(super) fn line(&self) -> Line {
        Line {
            base: self.cost.base.as_secs_f64(),
            per_row: self.cost.per_unit.as_secs_f64() * self.mean_units(),
        }
    }

    /// Device time of everything that waits, in seconds.
    pub(super) fn work(&self, line: Line) -> f64 {
        float(self.queued_rows.div_ceil(self.most())) * line.base + float(self.queued_rows) * line.per_row
    }

    /// The batches that go before `place`; `None` when there are none.
    pub(super) fn before(&self, place: &Place, line: Line) -> Option<Older> {
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
pub(super) struct Line {
    base: f64,
    per_row: f64,
}

/// Batches of another bucket that go before a request. In seconds.
pub(super) struct Older {
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
    pub(super) fn work(&self, during: f64) -> f64 {
        self.work + (self.arrivals * during).min(self.room) * self.per_row
    }
}

/// Counts are far below 2^53, where a float still has every whole number.
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
