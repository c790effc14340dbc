//! How many requests the gateway holds at once.
//!
//! One number and a guard: whoever has a [`Permit`] is in. Decides nothing about models or workers; the proxy asks
//! before it routes, the registry changes the limit.

use std::sync::{
    Arc,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Counts requests in up to a limit. Clones share the count.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    limit: AtomicUsize,
    in_flight: AtomicUsize,
}

/// One admitted request. Dropping it makes room for another.
#[derive(Debug)]
#[must_use = "dropping a permit at once admits nothing"]
pub struct Permit(Arc<Gate>);

impl Admission {
    /// Admits up to `limit` requests at once; 0 admits none.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Gate { limit: AtomicUsize::new(limit), in_flight: AtomicUsize::new(0) }))
    }

    /// Changes the limit. A lower one asks nobody to leave: nobody is admitted until enough have left.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Relaxed);
    }

    /// Admits one request; `None` when the limit is reached.
    #[must_use]
    pub fn admit(&self) -> Option<Permit> {
        let limit = self.0.limit.load(Relaxed);
        // Compare and exchange rather than add, look and undo: an addition that is about to be undone would turn
        // away others that have room. Relaxed: the count publishes nothing on the way in.
        let admitted =
            self.0.in_flight.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1));
        admitted.is_ok().then(|| Permit(Arc::clone(&self.0)))
    }

    /// Requests admitted and not yet done.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        // Acquire, with Release in the permit's drop: who reads 0 also sees what the last requests left behind.
        self.0.in_flight.load(Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_limit_are_admitted_and_a_dropped_permit_makes_room() {
        let admission = Admission::new(2);
        let (first, _second) = (admission.admit().unwrap(), admission.admit().unwrap());
        assert!(admission.admit().is_none());
        assert_eq!(admission.in_flight(), 2);
        drop(first);
        assert_eq!(admission.in_flight(), 1);
        assert!(admission.admit().is_some());
    }

    #[test]
    fn a_limit_of_zero_admits_nothing() {
        assert!(Admission::new(0).admit().is_none());
    }

    #[test]
    fn a_lower_limit_asks_nobody_to_leave_and_admits_nobody_until_enough_have() {
        let admission = Admission::new(3);
        let mut permits: Vec<_> = (0..3).map(|_| admission.admit().unwrap()).collect();
        admission.clone().set_limit(1);
        for held in [3, 2, 1] {
            assert_eq!(admission.in_flight(), held);
            assert!(admission.admit().is_none());
            permits.pop();
        }
        assert!(admission.admit().is_some());
    }

    #[test]
    fn a_request_that_is_turned_away_is_at_no_moment_counted() {
        let admission = Admission::new(1);
        let _held = admission.admit().unwrap();
        std::thread::scope(|scope| {
            let knocking = scope.spawn(|| (0..1_000_000).all(|_| admission.admit().is_none()));
            while !knocking.is_finished() {
                assert_eq!(admission.in_flight(), 1);
            }
            assert!(knocking.join().unwrap());
        });
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_counted() {
        let admission = Admission::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| drop(admission.admit())));
            }
        });
        assert_eq!(admission.in_flight(), 0);
    }
}
