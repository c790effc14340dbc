//! The queue of one model version: who gets in, and what runs next.
//!
//! First come, first served, among requests of one shape; a foreign shape never blocks those behind it. Keeps no
//! clock and answers nobody: every ticket leaves through exactly one of [`Refused`], [`Dropped`] and [`Batch`], and
//! the caller answers it. The caller serialises access (a lane pool holds it behind a mutex).

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::Refusal;

use super::{
    Dropped, Refused, Ticket,
    line::{Entry, Line},
};
use crate::{Cancel, ShapeKey};

/// Shortest time between two searches of a full queue for dead tickets. Without it every refusal of an overload
/// would cost a walk over the whole queue (1,024 tickets: some 10 us); with it at most about 1 % of a core.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1);

/// What an operator sets in `[batching]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most rows of one batch. 0 = every request runs alone.
    pub max_batch_rows: u32,
    /// Longest wait for company while a lane is free; zero = never wait.
    pub max_delay: Duration,
    /// Most rows in the queue; a request that would exceed it is refused.
    pub max_queued_rows: u32,
}

/// The requests of one forward pass, oldest first, all of one shape.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// The tickets; never empty.
    pub tickets: Vec<Ticket<T>>,
    /// Sum of their rows; at most [`Limits::max_batch_rows`] unless one ticket alone has more.
    pub rows: u32,
}

/// What a free lane does now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run this.
    Run(Batch<T>),
    /// Ask again at this time (since the process's start), or when a ticket was admitted.
    WaitUntil(Duration),
    /// Nothing is queued: ask again when a ticket was admitted.
    Idle,
}

/// The answer to a lane that asks for work.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// Tickets that left without running since the last turn. The caller answers them, before it runs the batch.
    pub dropped: Vec<Dropped<T>>,
    /// What to do now.
    pub next: Next<T>,
}

/// The queue of one model version.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: Limits,
    lines: BTreeMap<ShapeKey, Line<T>>,
    sequence: u64,
    swept: Option<Duration>,
    dropped: Vec<Dropped<T>>,
}

impl<T: Cancel> Batcher<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, lines: BTreeMap::new(), sequence: 0, swept: None, dropped: Vec::new() }
    }

    /// Rows in the queue, those of tickets that died in it included until they are found.
    #[must_use]
    pub fn queued_rows(&self) -> u64 {
        self.lines.values().map(Line::rows).sum()
    }

    /// Lets a ticket into the queue. The caller has checked that its rows fit a batch; a larger one would run alone.
    ///
    /// # Errors
    /// [`Refusal::Deadline`] when its deadline is not after `now`; [`Refusal::QueueFull`] when its rows do not fit
    /// even after dead tickets were swept out. An empty queue takes any ticket.
    pub fn admit(&mut self, now: Duration, ticket: Ticket<T>) -> Result<(), Refused<T>> {
        if ticket.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Refused { refusal: Refusal::Deadline, ticket });
        }
        if !self.has_room(now, ticket.rows) {
            return Err(Refused { refusal: Refusal::QueueFull, ticket });
        }
        let due = self.due(now, ticket.deadline);
        let entry = Entry { sequence: self.sequence, due, ticket };
        self.sequence += 1;
        // Not `entry()`: it would need a copy of the key beside the one in the ticket.
        match self.lines.get_mut(&entry.ticket.shape) {
            Some(line) => line.push(entry),
            None => self.lines.entry(entry.ticket.shape.clone()).or_default().push(entry),
        }
        Ok(())
    }

    /// Whether not even a ticket of one row would be let in.
    pub fn is_full(&mut self, now: Duration) -> bool {
        !self.has_room(now, 1)
    }

    /// What a free lane does at `now`. With a zero [`Limits::max_delay`] it never has to wait while a live ticket
    /// is queued; otherwise a batch runs once it is full or one of its tickets has waited long enough.
    pub fn next(&mut self, now: Duration) -> Turn<T> {
        let next = loop {
            let Some(key) = self.ready_line(now) else { break self.wait() };
            // A line that turns out not to be ready lost dead tickets, so this ends.
            if let Some(batch) = self.form(now, &key) {
                break Next::Run(batch);
            }
        };
        Turn { dropped: std::mem::take(&mut self.dropped), next }
    }

    fn max_rows(&self) -> u32 {
        self.limits.max_batch_rows.max(1)
    }

    /// Whether so many rows fit, if need be after dead tickets were swept out.
    fn has_room(&mut self, now: Duration, rows: u32) -> bool {
        self.fits(rows) || {
            self.sweep(now);
            self.fits(rows)
        }
    }

    fn fits(&self, rows: u32) -> bool {
        let queued = self.queued_rows();
        queued == 0 || queued + u64::from(rows) <= u64::from(self.limits.max_queued_rows)
    }

    /// A ticket waits for company at most `max_delay`, and at most half of the time that its requester gave.
    fn due(&self, now: Duration, deadline: Option<Duration>) -> Duration {
        let slack = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(now) / 2);
        now.saturating_add(self.limits.max_delay.min(slack))
    }

    /// The line to serve: of those that are full or due, the one whose head came first.
    fn ready_line(&self, now: Duration) -> Option<ShapeKey> {
        let ready = |line: &&Line<T>| {
            line.rows() >= u64::from(self.max_rows())
                || line.head().is_some_and(|head| head.due <= now)
                || line.due().is_some_and(|due| due <= now)
        };
        let lines = self.lines.iter().filter(|(_, line)| ready(line));
        let first = lines.min_by_key(|(_, line)| line.head().map(|head| head.sequence))?;
        Some(first.0.clone())
    }

    fn wait(&self) -> Next<T> {
        self.lines.values().filter_map(Line::due).min().map_or(Next::Idle, Next::WaitUntil)
    }

    /// Takes the oldest live tickets of a line that fit one batch. `None` when they turn out, dead ones gone, to be
    /// neither full nor due; then they stay queued.
    fn form(&mut self, now: Duration, key: &ShapeKey) -> Option<Batch<T>> {
        let max_rows = self.max_rows();
        let line = self.lines.get_mut(key)?;
        let (mut taken, mut rows) = (Vec::new(), 0_u32);
        while let Some(entry) = line.pop_fitting(rows, max_rows) {
            match entry.ticket.dead(now) {
                Some(cause) => self.dropped.push(Dropped { cause, ticket: entry.ticket }),
                None => {
                    rows = rows.saturating_add(entry.ticket.rows);
                    taken.push(entry);
                }
            }
        }
        let may_grow = line.head().is_none() && rows < max_rows;
        let in_time = taken.iter().all(|entry| entry.due > now);
        if may_grow && in_time {
            line.restore(std::mem::take(&mut taken));
        }
        if line.head().is_none() {
            self.lines.remove(key);
        }
        let tickets: Vec<_> = taken.into_iter().map(|entry| entry.ticket).collect();
        (!tickets.is_empty()).then_some(Batch { tickets, rows })
    }

    /// Moves dead tickets out of every line, unless that was done a moment ago.
    fn sweep(&mut self, now: Duration) {
        if self.swept.is_some_and(|last| now.saturating_sub(last) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        for line in self.lines.values_mut() {
            line.sweep(now, &mut self.dropped);
        }
        self.lines.retain(|_, line| line.head().is_some());
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
