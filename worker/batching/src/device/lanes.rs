//! When lanes are free, and for whom.
//!
//! A queue competes with others for the lanes of the device, except for those that the others cannot take because they may
//! not run that many batches at a time. Called by admission, drops and the quote.

use std::time::Duration;

use super::{Device, QueueId};
use crate::{Cancel, forecast::Starts, queue::Queue, quote::free_in};

impl<T: Cancel> Device<T> {
    /// Until a lane is free.
    pub(super) fn free_in(&self, now: Duration) -> Duration {
        free_in(self.settings.lanes, self.running.values().map(|batch| batch.left(now)))
    }

    /// Until the queue may run one batch more.
    pub(super) fn own_free_in(&self, now: Duration, id: QueueId, queue: &Queue<T>) -> Duration {
        if !queue.is_blocked() {
            return Duration::ZERO;
        }
        let batches = self.running.values().filter(|batch| batch.queue == id);
        free_in(queue.settings.lanes, batches.map(|batch| batch.left(now)))
    }

    /// Until a lane may serve this queue, if no other takes it first.
    pub(super) fn start_in(&self, now: Duration, id: QueueId) -> Duration {
        let own = self.queues.get(&id).map_or(Duration::ZERO, |queue| self.own_free_in(now, id, queue));
        own.max(self.free_in(now))
    }

    /// Lanes that no other queue can take in which something waits; 0 = they compete for all of them.
    pub(super) fn lanes_to_itself(&self, id: QueueId) -> u32 {
        let mut lanes = self.settings.lanes.max(1);
        let others =
            self.turns.keys().filter(|other| *other != id).filter_map(|other| self.queues.get(&other));
        for other in others {
            lanes = lanes.saturating_sub(other.settings.lanes.max(1));
            if lanes == 0 {
                break;
            }
        }
        lanes
    }

    /// When lanes are free for the queue, after so much work of others that [`Device::quote_for`] counts.
    pub(super) fn starts_among(
        &self,
        now: Duration,
        id: QueueId,
        queue: &Queue<T>,
        others: Duration,
    ) -> Starts {
        let shared = match self.lanes_to_itself(id) {
            0 => self.settings.lanes,
            own => own.min(queue.settings.lanes),
        };
        self.starts(now, id, queue).delayed(others / shared.max(1))
    }

    /// When lanes are free for the queue, before the work of others with which it competes.
    pub(super) fn starts(&self, now: Duration, id: QueueId, queue: &Queue<T>) -> Starts {
        let (own_lanes, to_itself) = (queue.settings.lanes.max(1), self.lanes_to_itself(id));
        let lanes = if to_itself == 0 { self.settings.lanes } else { to_itself };
        // Others in which nothing waits only end what they run; those in which something does take their lanes again.
        let waits = |other| other != id && self.turns.contains(other);
        let busy = self.running.values().filter(|batch| match own_lanes < lanes {
            true => batch.queue == id,
            false => to_itself == 0 || !waits(batch.queue),
        });
        let starts = Starts::new(own_lanes.min(lanes), busy.map(|batch| batch.left(now)));
        starts.not_before(self.start_in(now, id))
    }
}
