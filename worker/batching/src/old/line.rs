//! The requests of one shape, in order of arrival.
//!
//! Knows rows and order only; which line is served and when is decided in `batcher`.

use std::{collections::VecDeque, time::Duration};

use super::{Dropped, Ticket};
use crate::Cancel;

/// A ticket with its place in the queue.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Arrival order over all lines.
    pub(crate) sequence: u64,
    /// When it stops waiting for company.
    pub(crate) due: Duration,
    pub(crate) ticket: Ticket<T>,
}

/// First in, first out, with the sum of rows at hand.
#[derive(Debug)]
pub(crate) struct Line<T> {
    entries: VecDeque<Entry<T>>,
    rows: u64,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), rows: 0 }
    }
}

impl<T: Cancel> Line<T> {
    pub(crate) fn head(&self) -> Option<&Entry<T>> {
        self.entries.front()
    }

    /// Earliest time at which some entry stops waiting. Not always the head's: a later arrival may be in more haste.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn push(&mut self, entry: Entry<T>) {
        self.rows += u64::from(entry.ticket.rows);
        self.entries.push_back(entry);
    }

    /// Takes the head if it is alone (`taken` = 0) or brings the batch to at most `max_rows`.
    pub(crate) fn pop_fitting(&mut self, taken: u32, max_rows: u32) -> Option<Entry<T>> {
        let rows = self.head()?.ticket.rows;
        let fits = taken == 0 || taken.checked_add(rows).is_some_and(|sum| sum <= max_rows);
        let entry = if fits { self.entries.pop_front() } else { None }?;
        self.rows -= u64::from(rows);
        Some(entry)
    }

    /// Puts entries back where they were popped from, in their order.
    pub(crate) fn restore(&mut self, entries: Vec<Entry<T>>) {
        for entry in entries.into_iter().rev() {
            self.rows += u64::from(entry.ticket.rows);
            self.entries.push_front(entry);
        }
    }

    /// Moves every dead ticket out, wherever it stands.
    pub(crate) fn sweep(&mut self, now: Duration, dropped: &mut Vec<Dropped<T>>) {
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            match entry.ticket.dead(now) {
                None => self.entries.push_back(entry),
                Some(cause) => {
                    self.rows -= u64::from(entry.ticket.rows);
                    dropped.push(Dropped { cause, ticket: entry.ticket });
                }
            }
        }
    }
}
