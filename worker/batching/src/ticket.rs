//! A queued request as batching sees it, and the ways in which one leaves the queue without running.
//!
//! Plain data; the queues themselves are `device`.

use std::time::Duration;

use weir_protocol::Refusal;

/// The bucket of a request: the sizes of its free dimensions after padding, the batch dimension left out. Only requests
/// with equal keys can share a batch. A model without free dimensions has one key: the empty one, which costs no
/// allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeKey(pub Box<[u64]>);

/// Says whether anybody still waits for an answer.
pub trait Cancel {
    /// True once the requester is gone: the ticket leaves the queue without running.
    fn cancelled(&self) -> bool;
}

/// One request in the queue, or a part of one that is larger than a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket<T> {
    /// Rows that it adds to a batch; at least 1.
    pub rows: u32,
    /// What it costs, in units of its bucket: its rows, or more where some rows cost more; at least 1.
    pub units: u32,
    /// What it can share a batch with.
    pub shape: ShapeKey,
    /// Priority class: 0 goes first. Waiting raises it ([`crate::QueueSettings::ageing`]).
    pub class: u8,
    /// When its answer stops being useful, since the process's start; `None` = never.
    pub deadline: Option<Duration>,
    /// The request itself and the way to answer it.
    pub payload: T,
}

impl<T: Cancel> Ticket<T> {
    /// Why this ticket must not run at `now` whatever a batch costs; `None` when it may.
    #[must_use]
    pub fn dead(&self, now: Duration) -> Option<Cause> {
        if self.payload.cancelled() {
            return Some(Cause::Cancelled);
        }
        self.deadline.is_some_and(|deadline| deadline <= now).then_some(Cause::Expired)
    }
}

/// Why a ticket left the queue without running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its deadline passed: the requester is still there and must be told.
    Expired,
    /// Its deadline has not passed, and could not be met any more.
    Hopeless,
    /// Nobody waits for it any more.
    Cancelled,
}

/// A ticket that left the queue without running. The caller answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped<T> {
    /// Why.
    pub cause: Cause,
    /// The ticket.
    pub ticket: Ticket<T>,
}

/// A request that was not let into the queue, with the reason. The caller answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<T> {
    /// [`Refusal::QueueFull`], [`Refusal::Deadline`] or [`Refusal::NotReady`].
    pub refusal: Refusal,
    /// All its parts, untouched.
    pub parts: Vec<Ticket<T>>,
}
