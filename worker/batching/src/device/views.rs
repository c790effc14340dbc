//! A device and its buckets as the quote sees them.
//!
//! Fills plain views; the formulas are `quote`'s. Called by `device` for each admission and each report.

use std::time::Duration;

use super::{Device, QueueId};
use crate::{
    Cancel, Quote, ShapeKey,
    queue::Queue,
    quote::{self, Ask, BucketView, DeviceView},
};

/// Most buckets that a quote looks at one by one (about 0.15 us each; with 16, quotes among 48 models err by 0.65 at the
/// 95th percentile, with 32 by 0.46, with all by 0.19). Of more, every second, third, ... is looked at and
/// counts for as many: where hundreds of models have requests waiting, a request must not cost a walk over all.
const SAMPLE: usize = 32;

impl<T: Cancel> Device<T> {
    /// What one more request of one unit to the queue would be told at `now`, for the smallest bucket whose cost is
    /// known; `None` when there is no such queue.
    #[must_use]
    pub fn quote(&self, now: Duration, queue: QueueId) -> Option<Quote> {
        let shape = self.queues.get(&queue)?.smallest_shape();
        let device_ahead = self.quote_among_all(now, queue, &shape, Ask::default())?.device_ahead;
        self.quote_for(now, queue, &shape, Ask::default()).map(|quote| Quote { device_ahead, ..quote })
    }

    /// What a request for that bucket would be told; where the queue has lanes to itself, as if they were the device.
    pub(super) fn quote_for(&self, now: Duration, id: QueueId, shape: &ShapeKey, ask: Ask) -> Option<Quote> {
        let lanes = self.lanes_to_itself(id);
        if lanes == 0 {
            return self.quote_among_all(now, id, shape, ask);
        }
        let own = self.queues.get(&id)?;
        let bucket = own.view_of(now, shape, self.own_free_in(now, id, own));
        let free_in = self.starts(now, id, own).first();
        let device = DeviceView { lanes, free_in, down: Duration::ZERO };
        let siblings = own.waiting_shapes().filter(|waiting| *waiting != shape).take(SAMPLE);
        let siblings = siblings.map(|waiting| own.view_of(now, waiting, bucket.free_in));
        Some(quote::quote(&device, &bucket, siblings, ask))
    }

    /// The same where it competes with all others.
    fn quote_among_all(&self, now: Duration, id: QueueId, shape: &ShapeKey, ask: Ask) -> Option<Quote> {
        let own = self.queues.get(&id)?;
        let bucket = own.view_of(now, shape, self.own_free_in(now, id, own));
        let (lanes, free_in) = (self.settings.lanes.max(1), self.free_in(now));
        let device = DeviceView { lanes, free_in, down: Duration::ZERO };
        Some(quote::quote(&device, &bucket, self.others(now, id, shape), ask))
    }

    /// The buckets other than this one in which something waits, or an even selection of them that stands for all.
    fn others(&self, now: Duration, id: QueueId, shape: &ShapeKey) -> impl Iterator<Item = BucketView> {
        let waiting = self.turns.len().max(1);
        let (queues, buckets) = (waiting.div_ceil(SAMPLE), SAMPLE.div_ceil(waiting));
        let sample = self.turns.keys().step_by(queues);
        let sample = sample.filter_map(|other| Some((other, self.queues.get(&other)?)));
        sample.flat_map(move |(other, queue)| {
            let free_in = self.own_free_in(now, other, queue);
            let each = queue.waiting().div_ceil(buckets).max(1);
            let shapes = queue.waiting_shapes().step_by(each);
            let shapes = shapes.filter(move |waiting| other != id || *waiting != shape);
            shapes.map(move |waiting| {
                let view = queue.view_of(now, waiting, free_in);
                BucketView { cost: view.cost.scaled((queues * each) as f64), ..view }
            })
        })
    }
}

impl<T: Cancel> Queue<T> {
    /// The smallest bucket whose cost is known; the empty one when none is.
    fn smallest_shape(&self) -> ShapeKey {
        self.costs.smallest().cloned().unwrap_or_default()
    }

    fn view_of(&self, now: Duration, shape: &ShapeKey, free_in: Duration) -> BucketView {
        let line = self.line(shape);
        let oldest = line.and_then(|line| line.turn());
        BucketView {
            cost: self.costs.of(shape),
            lanes: self.settings.lanes.max(1),
            free_in,
            batch_rows: self.settings.max_batch_rows.max(1),
            ready_rows: self.ready_rows(shape),
            max_queue_delay: self.settings.max_queue_delay,
            queued_rows: line.map_or(0, |line| line.rows()),
            queued_units: line.map_or(0, |line| line.units()),
            oldest: oldest.map_or(Duration::ZERO, |(came, _)| now.saturating_sub(came)),
            turn_offset: self.turn_offset,
            arrivals: line.map_or(0.0, |line| line.rate(now, u8::MAX)),
        }
    }
}
