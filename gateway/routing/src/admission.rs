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
