//! How many bytes of request bodies the worker holds, over all requests.
//!
//! Bytes are taken as they arrive and given back when the request is done, so that many large bodies at once are
//! refused instead of filling the machine. Knows no HTTP; what reads bodies takes, what answers them decides for how
//! long.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

/// The bytes that all bodies in hand may have. Copies are one.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    total: u64,
    held: Arc<AtomicU64>,
}

impl BodyBudget {
    /// A budget of that many bytes, all free.
    #[must_use]
    pub fn new(total: weir_protocol::Bytes) -> Self {
        Self { total: total.0, held: Arc::default() }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> weir_protocol::Bytes {
        weir_protocol::Bytes(self.held.load(Ordering::Relaxed))
    }

    /// Whether a body of that many bytes would fit now. Takes nothing: a promise costs a client nothing either.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.held().0.saturating_add(bytes) <= self.total
    }

    /// An empty share, to be grown as bytes arrive.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// The bytes that one request holds; given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: BodyBudget,
    bytes: u64,
}

impl Share {
    /// Takes that many more bytes. False, and nothing taken, when they do not fit.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.budget.total);
        let fits = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

/// A body whose bytes stay taken from the budget for as long as any piece of it lives: also beyond a client that hung
/// up, while its body is still being decoded or run.
struct Held {
    body: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The body, which keeps the share alive with every piece of it.
pub(crate) fn hold(body: Bytes, share: &Arc<Share>) -> Bytes {
    Bytes::from_owner(Held { body, _share: Arc::clone(share) })
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_total_and_are_given_back() {
        let budget = BodyBudget::new(weir_protocol::Bytes(10));
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow(6) && other.grow(4) && !other.grow(1));
        assert!(!budget.has_room(1) && budget.has_room(0));
        drop(one);
        assert_eq!(budget.held().0, 4);
        assert!(budget.has_room(6) && !budget.has_room(7) && !budget.has_room(u64::MAX));
        assert!(!other.grow(usize::MAX) && other.grow(6));
        drop(other);
        assert_eq!(budget.held().0, 0);
    }
}
