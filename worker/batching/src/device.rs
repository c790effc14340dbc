//! All queues of one device: who gets in, whose turn it is, what runs next.
//!
//! Keeps no clock and answers nobody: every ticket leaves through exactly one of [`Refused`], [`Dropped`] and
//! [`Batch`], or comes back from [`Device::remove`], and the caller answers it. The caller serialises access (the
//! worker holds it behind a mutex) and asks [`Device::next`] whenever a lane is free. The simulator runs the same code.

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::Refusal;

use crate::{Cancel, DeviceSettings, Dropped, QueueSettings, Quote, Refused, ShapeKey, Ticket};

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
    /// Ask again at this time (since the process's start), or when a ticket was admitted.
    WaitUntil(Duration),
    /// Nothing can run: ask again when a ticket was admitted.
    Idle,
}

/// The answer to a lane that asks for work.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// Tickets that left without running since the last turn, of any queue. The caller answers them at once.
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
    running: BTreeMap<BatchId, QueueId>,
    dropped: Vec<Dropped<T>>,
    last_id: u64,
}

#[derive(Debug)]
struct Queue<T> {
    settings: QueueSettings,
    entries: Vec<(Duration, Ticket<T>)>,
    arrivals: u64,
    running: u32,
}

impl<T: Cancel> Device<T> {
    /// A device without queues.
    #[must_use]
    pub fn new(settings: DeviceSettings) -> Self {
        Self { settings, queues: BTreeMap::new(), running: BTreeMap::new(), dropped: Vec::new(), last_id: 0 }
    }

    /// Adds a queue, empty.
    pub fn add(&mut self, settings: QueueSettings) -> QueueId {
        let id = QueueId(self.fresh_id());
        self.queues.insert(id, Queue { settings, entries: Vec::new(), arrivals: 0, running: 0 });
        id
    }

    /// Removes a queue and gives back what still waited in it. Batches of it that run end as they would.
    pub fn remove(&mut self, queue: QueueId) -> Vec<Ticket<T>> {
        let queue = self.queues.remove(&queue);
        queue.map(|queue| queue.entries.into_iter().map(|(_, ticket)| ticket).collect()).unwrap_or_default()
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
        let Some(queue) = self.queues.get_mut(&queue) else {
            return Err(Refused { refusal: Refusal::NotReady, parts });
        };
        if parts.iter().any(|part| part.deadline.is_some_and(|deadline| deadline <= now)) {
            return Err(Refused { refusal: Refusal::Deadline, parts });
        }
        let rows: u64 = parts.iter().map(|part| u64::from(part.rows)).sum();
        let queued = queue.rows();
        if queued > 0 && queued + rows > u64::from(queue.settings.max_queued_rows) {
            return Err(Refused { refusal: Refusal::QueueFull, parts });
        }
        queue.arrivals += 1;
        queue.entries.extend(parts.into_iter().map(|part| (now, part)));
        Ok(Duration::ZERO)
    }

    /// Whether not even a request of one row would be let into the queue.
    pub fn is_full(&mut self, _now: Duration, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|q| q.rows() >= u64::from(q.settings.max_queued_rows))
    }

    /// What a free lane does at `now`.
    pub fn next(&mut self, now: Duration) -> Turn<T> {
        let free = u32::try_from(self.running.len()).unwrap_or(u32::MAX) < self.settings.lanes;
        let ready = self.queues.iter_mut().filter(|(_, q)| free && q.running < q.settings.lanes);
        let oldest = ready.filter_map(|(id, q)| Some((q.entries.first()?.0, *id))).min();
        let next = match oldest {
            Some((_, id)) => self.form(now, id),
            None => None,
        };
        Turn { dropped: std::mem::take(&mut self.dropped), next: next.map_or(Next::Idle, Next::Run) }
    }

    /// Takes note that a batch has ended; its lane is free again.
    pub fn finish(&mut self, _now: Duration, batch: BatchId, _ended: Ended) {
        let queue = self.running.remove(&batch).and_then(|queue| self.queues.get_mut(&queue));
        if let Some(queue) = queue {
            queue.running -= 1;
        }
    }

    /// What one more request to the queue would be told at `now`; `None` when there is no such queue.
    #[must_use]
    pub fn quote(&self, _now: Duration, queue: QueueId) -> Option<Quote> {
        self.queues.get(&queue).map(|_| Quote::default())
    }

    /// What the queue looks like; all zero when there is no such queue.
    #[must_use]
    pub fn view(&self, queue: QueueId) -> QueueView {
        let view =
            |q: &Queue<T>| QueueView { queued_rows: q.rows(), arrivals: q.arrivals, running: q.running };
        self.queues.get(&queue).map(view).unwrap_or_default()
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn form(&mut self, now: Duration, id: QueueId) -> Option<Batch<T>> {
        let batch = BatchId(self.fresh_id());
        let queue = self.queues.get_mut(&id)?;
        let mut shape: Option<ShapeKey> = None;
        let (mut tickets, mut kept, mut rows, mut units) = (Vec::new(), Vec::new(), 0, 0);
        for (arrived, ticket) in std::mem::take(&mut queue.entries) {
            if let Some(cause) = ticket.dead(now) {
                self.dropped.push(Dropped { cause, ticket });
                continue;
            }
            let fits = rows == 0 || rows + ticket.rows <= queue.settings.max_batch_rows;
            if fits && shape.as_ref().is_none_or(|shape| *shape == ticket.shape) {
                shape.get_or_insert_with(|| ticket.shape.clone());
                rows += ticket.rows;
                units += ticket.units;
                tickets.push(ticket);
            } else {
                kept.push((arrived, ticket));
            }
        }
        queue.entries = kept;
        if tickets.is_empty() {
            return None;
        }
        queue.running += 1;
        self.running.insert(batch, id);
        Some(Batch { id: batch, queue: id, tickets, rows, units })
    }
}

impl<T> Queue<T> {
    fn rows(&self) -> u64 {
        self.entries.iter().map(|(_, ticket)| u64::from(ticket.rows)).sum()
    }
}
