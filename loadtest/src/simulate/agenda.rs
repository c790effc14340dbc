//! Virtual time: what happens next, and when.
//!
//! The clock of every simulation. It jumps from event to event; nothing here sleeps or reads a real clock. Events at
//! one moment come in the order in which they were planned, so that a run can be repeated exactly.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

/// Events in the order of their times, and the present.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Duration,
    planned: u64,
    heap: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, planned: 0, heap: BinaryHeap::new() }
    }
}

impl<E> Agenda<E> {
    /// The present: the time of the last event that came, since the start of the run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Plans an event; one that is planned for the past comes next.
    pub fn plan(&mut self, at: Duration, event: E) {
        let order = self.planned;
        self.planned += 1;
        self.heap.push(Entry { at: at.max(self.now), order, event });
    }

    /// Moves to the next event and gives it out; `None` when nothing is planned any more.
    pub fn advance(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

// The heap gives the greatest entry: the earliest one is made the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn events_come_by_time_and_those_of_one_moment_as_they_were_planned() {
        let mut agenda = Agenda::default();
        for (at, event) in [(3, 'c'), (1, 'a'), (3, 'd'), (2, 'b')] {
            agenda.plan(ms(at), event);
        }
        let mut seen = Vec::new();
        while let Some(event) = agenda.advance() {
            seen.push((agenda.now(), event));
        }
        assert_eq!(seen, [(ms(1), 'a'), (ms(2), 'b'), (ms(3), 'c'), (ms(3), 'd')]);
    }

    #[test]
    fn time_never_goes_back() {
        let mut agenda = Agenda::default();
        agenda.plan(ms(5), "late");
        assert_eq!(agenda.advance(), Some("late"));
        agenda.plan(ms(1), "planned for the past");
        assert_eq!((agenda.advance(), agenda.now()), (Some("planned for the past"), ms(5)));
        assert_eq!(agenda.advance(), None);
    }
}
