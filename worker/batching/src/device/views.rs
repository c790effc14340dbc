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

impl<T: Cancel> Device<T> {
    /// What one more request of one unit to the queue would be told at `now`, for the smallest bucket whose cost is
    /// known; `None` when there is no such queue. The time it takes grows with the number of buckets on the device in
    /// which something waits.
    #[must_use]
    pub fn quote(&self, now: Duration, queue: QueueId) -> Option<Quote> {
        let shape = self.queues.get(&queue)?.smallest_shape();
        self.quote_for(now, queue, &shape, Ask::default())
    }

    /// What a request for that bucket would be told.
    pub(super) fn quote_for(&self, now: Duration, id: QueueId, shape: &ShapeKey, ask: Ask) -> Option<Quote> {
        let own = self.queues.get(&id)?;
        let bucket = own.view_of(now, shape, self.own_free_in(now, id, own));
        let device = DeviceView {
            lanes: self.settings.lanes.max(1),
            free_in: self.free_in(now),
            down: Duration::ZERO,
        };
        let others = self.turns.keys().filter_map(|other| Some((other, self.queues.get(&other)?)));
        let views = others.flat_map(move |(other, queue)| {
            let free_in = self.own_free_in(now, other, queue);
            let shapes = queue.waiting_shapes().filter(move |waiting| other != id || *waiting != shape);
            shapes.map(move |waiting| queue.view_of(now, waiting, free_in))
        });
        Some(quote::quote(&device, &bucket, views, ask))
    }
}

impl<T: Cancel> Queue<T> {
    /// The smallest bucket whose cost is known; the empty one when none is.
    fn smallest_shape(&self) -> ShapeKey {
        self.costs.smallest().cloned().unwrap_or_default()
    }

    fn view_of(&self, now: Duration, shape: &ShapeKey, free_in: Duration) -> BucketView {
        let line = self.line(shape);
        let oldest = line.and_then(|line| line.oldest());
        BucketView {
            cost: self.costs.of(shape),
            lanes: self.settings.lanes.max(1),
            free_in,
            batch_rows: self.settings.max_batch_rows.max(1),
            ready_rows: self.ready_rows(shape),
            max_queue_delay: self.settings.max_queue_delay,
            queued_rows: line.map_or(0, |line| line.rows()),
            queued_units: line.map_or(0, |line| line.units()),
            oldest: oldest.map_or(Duration::ZERO, |(arrived, _)| now.saturating_sub(arrived)),
            turn_offset: self.turn_offset,
            arrivals: line.map_or(0.0, |line| line.rate(now, u8::MAX)),
        }
    }
}
