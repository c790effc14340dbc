//! All queues of one device: who gets in, whose turn it is, what runs next.
//!
//! Keeps no clock and answers nobody: every ticket leaves through exactly one of [`Refused`], [`Dropped`] and
//! [`Batch`], or comes back from [`Device::remove`], and the caller answers it. The caller serialises access (the
//! worker holds it behind a mutex) and asks [`Device::next`] whenever a lane is free. The simulator runs the same code.

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::Refusal;

use crate::{
    Cancel, Costs, DeviceSettings, Dropped, QueueSettings, Refused, ShapeKey, Ticket, TurnOrder,
    queue::{Formed, Queue},
    quote::residual,
    turns::Turns,
};

mod admission;
mod lanes;
mod views;

/// A queue of a device. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

/// A batch that was handed out. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// The requests of one forward pass, all of one queue and one bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// To name it when it is done.
    pub id: BatchId,
    /// Its queue.
    pub queue: QueueId,
    /// The tickets, in the order of the queue; never empty.
    pub tickets: Vec<Ticket<T>>,
    /// Sum of their rows; at most [`QueueSettings::max_batch_rows`] unless one ticket alone has more.
    pub rows: u32,
    /// Sum of their units.
    pub units: u32,
}

/// What a free lane does now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run this, then say so with [`Device::finish`].
    Run(Batch<T>),
    /// Ask again at this time (since the process's start), or when a ticket was admitted or a batch has ended.
    WaitUntil(Duration),
    /// Nothing can run: ask again when a ticket was admitted or a batch has ended.
    Idle,
}

/// The answer to a lane that asks for work.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// Tickets that left without running since the last turn, of any queue, those aside that [`Device::take_dropped`] gave.
    /// The caller answers them at once.
    pub dropped: Vec<Dropped<T>>,
    /// What to do now.
    pub next: Next<T>,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its forward pass gave a result after this long.
    Ran(Duration),
    /// It failed: nothing is learned from it.
    Failed,
}

/// What a queue looks like from outside, for gauges and reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueView {
    /// Rows that wait, those of tickets that died in the queue included until they are found.
    pub queued_rows: u64,
    /// Requests admitted so far; refusals are not among them.
    pub arrivals: u64,
    /// Batches that run now.
    pub running: u32,
}

/// The queues of one device.
#[derive(Debug)]
pub struct Device<T> {
    settings: DeviceSettings,
    queues: BTreeMap<QueueId, Queue<T>>,
    turns: Turns<QueueId>,
    running: BTreeMap<BatchId, Running>,
    dropped: Vec<Dropped<T>>,
    last_id: u64,
}

/// A batch that was handed out and has not ended.
#[derive(Debug)]
struct Running {
    queue: QueueId,
    shape: ShapeKey,
    units: u32,
    started: Duration,
    expected: Duration,
}

impl<T: Cancel> Device<T> {
    /// A device without queues.
    #[must_use]
    pub fn new(settings: DeviceSettings) -> Self {
        Self {
            settings,
            queues: BTreeMap::new(),
            turns: Turns::default(),
            running: BTreeMap::new(),
            dropped: Vec::new(),
            last_id: 0,
        }
    }

    /// Adds a queue, empty.
    pub fn add(&mut self, settings: QueueSettings) -> QueueId {
        let id = QueueId(self.fresh_id());
        let turn_offset = match self.settings.turn_order {
            TurnOrder::Arrival => Duration::ZERO,
            TurnOrder::Slo => settings.default_timeout.unwrap_or_default() / 10,
        };
        self.queues.insert(id, Queue::new(settings, turn_offset));
        id
    }

    /// Removes a queue and gives back what still waited in it, oldest first. Batches of it that run end as they would.
    pub fn remove(&mut self, queue: QueueId) -> Vec<Ticket<T>> {
        let removed = self.queues.remove(&queue);
        self.refresh(queue);
        removed.map(Queue::drain).unwrap_or_default()
    }

    /// Lets the parts of one request into a queue: all of them or none. One request that fits a batch is one part. The
    /// caller has checked that no part has more rows than a batch. Answers when it will be done, as far as is known.
    ///
    /// # Errors
    /// The tickets come back. [`Refusal::Deadline`]: their deadline is not after `now`, or they could not be done
    /// by then. [`Refusal::QueueFull`]: their rows do not fit even after dead tickets were swept out.
    /// [`Refusal::NotReady`]: there is no such queue.
    pub fn admit(
        &mut self,
        now: Duration,
        queue: QueueId,
        parts: Vec<Ticket<T>>,
    ) -> Result<Duration, Refused<T>> {
        let Some(found) = self.queues.get_mut(&queue) else {
            return Err(Refused { refusal: Refusal::NotReady, parts });
        };
        if parts.iter().any(|part| part.deadline.is_some_and(|deadline| deadline <= now)) {
            return Err(Refused { refusal: Refusal::Deadline, parts });
        }
        let rows = parts.iter().map(|part| u64::from(part.rows)).sum();
        if !found.fits(rows) {
            found.sweep(now, &mut self.dropped);
            let fits = found.fits(rows);
            self.refresh(queue);
            if !fits {
                return Err(Refused { refusal: Refusal::QueueFull, parts });
            }
        }
        let forecast = self.foresee(now, queue, &parts);
        if forecast.is_some_and(|forecast| !forecast.in_time) {
            self.turn_away(now, queue, &parts);
            return Err(Refused { refusal: Refusal::Deadline, parts });
        }
        self.push(now, queue, parts);
        Ok(forecast.map_or(Duration::ZERO, |forecast| forecast.quoted))
    }

    /// Whether not even a request of one row would be let into the queue.
    pub fn is_full(&mut self, now: Duration, queue: QueueId) -> bool {
        let Some(found) = self.queues.get_mut(&queue).filter(|found| !found.fits(1)) else { return false };
        found.sweep(now, &mut self.dropped);
        let full = !found.fits(1);
        self.refresh(queue);
        full
    }

    /// Tickets that were found dead when room was needed for others, since this or [`Self::next`] was last asked. The
    /// caller answers them at once.
    pub fn take_dropped(&mut self) -> Vec<Dropped<T>> {
        std::mem::take(&mut self.dropped)
    }

    /// What a free lane does at `now`.
    pub fn next(&mut self, now: Duration) -> Turn<T> {
        self.wake(now);
        let next = loop {
            let Some(queue) = self.first_ready() else { break self.wait() };
            // Without a batch it lost tickets, so this ends.
            if let Some(batch) = self.form(now, queue) {
                break Next::Run(batch);
            }
        };
        self.drop_hopeless(now);
        Turn { dropped: self.take_dropped(), next }
    }

    /// When a free lane should ask next; not after `now` when it would get something at once. `None` while it would get
    /// nothing until a ticket is admitted or a batch ends.
    #[must_use]
    pub fn next_at(&self, now: Duration) -> Option<Duration> {
        if !self.dropped.is_empty() || self.first_ready().is_some() {
            return Some(now);
        }
        match self.wait() {
            Next::WaitUntil(time) => Some(time),
            Next::Idle | Next::Run(_) => None,
        }
    }

    /// Takes note that a batch has ended; its lane is free again.
    pub fn finish(&mut self, now: Duration, batch: BatchId, ended: Ended) {
        let Some(batch) = self.running.remove(&batch) else { return };
        let Some(queue) = self.queues.get_mut(&batch.queue) else { return };
        queue.running = queue.running.saturating_sub(1);
        if let Ended::Ran(took) = ended {
            queue.costs.observe(now, &batch.shape, batch.units, took);
        }
    }

    /// What batches of the queue cost; `None` when there is no such queue.
    #[must_use]
    pub fn costs(&self, queue: QueueId) -> Option<&Costs> {
        self.queues.get(&queue).map(|queue| &queue.costs)
    }

    /// What the queue looks like; all zero when there is no such queue.
    #[must_use]
    pub fn view(&self, queue: QueueId) -> QueueView {
        let view = |queue: &Queue<T>| QueueView {
            queued_rows: queue.rows(),
            arrivals: queue.admitted,
            running: queue.running,
        };
        self.queues.get(&queue).map(view).unwrap_or_default()
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Counts a request that is refused.
    fn turn_away(&mut self, now: Duration, id: QueueId, parts: &[Ticket<T>]) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for part in parts {
            queue.turn_away(now, part);
        }
    }

    fn push(&mut self, now: Duration, id: QueueId, parts: Vec<Ticket<T>>) {
        for part in parts {
            let sequence = self.fresh_id();
            let Some(queue) = self.queues.get_mut(&id) else { return };
            let line = queue.arrive(now, &part);
            queue.push(now, line, sequence, part);
        }
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.admitted += 1;
        }
        self.refresh(id);
    }

    /// Makes ready what has waited long enough for company.
    fn wake(&mut self, now: Duration) {
        while let Some(id) = self.turns.woken(now) {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.wake(now);
            }
            self.refresh(id);
        }
    }

    /// The queue that a free lane serves. At most as many are blocked as there are lanes, so this looks at few.
    fn first_ready(&self) -> Option<QueueId> {
        if self.running.len() >= self.lanes() {
            return None;
        }
        self.turns.ready().find(|id| self.queues.get(id).is_some_and(|queue| !queue.is_blocked()))
    }

    fn wait(&self) -> Next<T> {
        if self.running.len() >= self.lanes() {
            return Next::Idle;
        }
        let free = |id: &QueueId| self.queues.get(id).is_some_and(|queue| !queue.is_blocked());
        let first = self.turns.waking().find(|(_, id)| free(id));
        first.map_or(Next::Idle, |(time, _)| Next::WaitUntil(time))
    }

    fn form(&mut self, now: Duration, id: QueueId) -> Option<Batch<T>> {
        let batch = BatchId(self.fresh_id());
        let queue = self.queues.get_mut(&id)?;
        let line = queue.first_ready()?;
        let formed = queue.form(now, line, &mut self.dropped);
        self.refresh(id);
        let Formed { tickets, rows, units, shape, expected } = formed?;
        let running = Running { queue: id, shape: shape.clone(), units, started: now, expected };
        self.running.insert(batch, running);
        self.drop_left_out(now, id, line, &shape);
        Some(Batch { id: batch, queue: id, tickets, rows, units })
    }

    /// Drops what a batch left behind in its bucket and no later one would take.
    fn drop_left_out(&mut self, now: Duration, id: QueueId, line: u64, shape: &ShapeKey) {
        self.drop_hopeless_of(now, id);
        let starts = self.starts_of_left(now, id, shape);
        if let (Some(starts), Some(queue)) = (starts, self.queues.get_mut(&id)) {
            queue.drop_overtaken(now, line, &starts, &mut self.dropped);
            self.refresh(id);
        }
    }

    /// Drops what no lane can serve in time any more, of every queue.
    fn drop_hopeless(&mut self, now: Duration) {
        for id in self.turns.doomed(now.saturating_add(self.free_in(now))) {
            self.drop_hopeless_of(now, id);
        }
    }

    fn drop_hopeless_of(&mut self, now: Duration, id: QueueId) {
        let start = now.saturating_add(self.start_in(now, id));
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.drop_hopeless(now, start, &mut self.dropped);
        }
        self.refresh(id);
    }

    fn lanes(&self) -> usize {
        usize::try_from(self.settings.lanes.max(1)).unwrap_or(usize::MAX)
    }

    /// Brings the standing of a queue up to date.
    fn refresh(&mut self, id: QueueId) {
        let standing = self.queues.get(&id).map(Queue::standing).unwrap_or_default();
        self.turns.set(id, standing);
    }
}

impl Running {
    fn left(&self, now: Duration) -> Duration {
        residual(self.expected, now.saturating_sub(self.started))
    }
}

#[cfg(test)]
mod tests;
