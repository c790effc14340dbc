//! Where in its bucket a request would stand, and when its batch would begin.
//!
//! Pure arithmetic over the views of `quote`, which calls it.

use std::time::Duration;

use super::{Ask, BucketView, DeviceView, bucket::float};
use crate::cost::times;

/// Where in its bucket a request would stand.
pub(super) struct Place {
    /// Full batches ahead of its own (of its last rows, when it has more than one batch takes).
    batches: u64,
    /// Device time of those.
    work: Duration,
    /// Rows of its batch as it stands, its own included.
    rows: u64,
    /// Units of its batch as it stands, its own included.
    pub(super) units: f64,
    /// The same, if each of its own rows counts for no less than the bucket's mean.
    units_at_least: f64,
    /// Time since the head of its batch came, less what the turn order adds to arrivals: negative = later than now.
    pub(super) age: f64,
}

impl Place {
    pub(super) fn of(bucket: &BucketView, ask: Ask) -> Self {
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
    pub(super) fn ahead(&self, device: &DeviceView, bucket: &BucketView, others: Duration) -> Duration {
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
    pub(super) fn units_filled(&self, bucket: &BucketView, ahead: Duration) -> f64 {
        let room = float(bucket.most() - self.rows);
        self.units_at_least + bucket.arrive(ahead / 2).min(room) * bucket.mean_units()
    }
}
