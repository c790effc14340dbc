//! A queued request as batching sees it, and the ways in which one leaves the queue without running.
//!
//! Plain data; the queue itself is `batcher`.

use std::time::Duration;

use weir_protocol::Refusal;

use crate::{Cancel, ShapeKey};

/// One request in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket<T> {
    /// Rows that it adds to a batch; at least 1.
    pub rows: u32,
    /// What it can share a batch with.
    pub shape: ShapeKey,
    /// When its answer stops being useful, since the process's start; `None` = never.
    pub deadline: Option<Duration>,
    /// The request itself and the way to answer it.
    pub payload: T,
}

impl<T: Cancel> Ticket<T> {
    /// Why this ticket must not run at `now`; `None` when it may.
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

/// A ticket that was not let into the queue, with the reason. The caller answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<T> {
    /// [`Refusal::QueueFull`] or [`Refusal::Deadline`].
    pub refusal: Refusal,
    /// The ticket, untouched.
    pub ticket: Ticket<T>,
}
