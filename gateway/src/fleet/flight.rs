//! One answer for all who ask the same at the same time.
//!
//! Of several callers with one question the first finds the answer; those who came before it began share it. Who
//! comes later waits for the next, so that no answer is older than its question. A caller that goes away while it
//! finds the answer leaves the next one to do so.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// Questions under way, each with its answers. Holds no question that nobody asks.
pub(super) struct Flights<Q, A> {
    under_way: Mutex<HashMap<Q, Arc<Flight<A>>>>,
}

/// One question.
struct Flight<A> {
    /// Searches begun.
    begun: AtomicU64,
    /// The latest answer and the number of its search. Who holds the lock searches.
    latest: tokio::sync::Mutex<Option<(u64, A)>>,
}

impl<A> Default for Flight<A> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), latest: tokio::sync::Mutex::new(None) }
    }
}

impl<Q, A> Default for Flights<Q, A> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<Q: Eq + Hash + Clone, A: Clone> Flights<Q, A> {
    /// The answer to `question`: that of a search which began after this call, else what `search` finds.
    pub(super) async fn join(&self, question: Q, search: impl Future<Output = A>) -> A {
        let seat = self.seat(question);
        let before = seat.flight.begun.load(SeqCst);
        let mut latest = seat.flight.latest.lock().await;
        if let Some((number, answer)) = latest.as_ref().filter(|(number, _)| *number > before) {
            tracing::trace!(number, "shared an answer");
            return answer.clone();
        }
        let number = seat.flight.begun.fetch_add(1, SeqCst) + 1;
        let answer = search.await;
        *latest = Some((number, answer.clone()));
        answer
    }

    fn seat(&self, question: Q) -> Seat<'_, Q, A> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = Arc::clone(under_way.entry(question.clone()).or_default());
        Seat { flights: self, question, flight }
    }
}

/// A caller's part in a question; the last one to leave takes the question away.
struct Seat<'a, Q: Eq + Hash, A> {
    flights: &'a Flights<Q, A>,
    question: Q,
    flight: Arc<Flight<A>>,
}

impl<Q: Eq + Hash, A> Drop for Seat<'_, Q, A> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the map's own and this one. New ones are made under the same lock.
        if Arc::strong_count(&self.flight) == 2 {
            under_way.remove(&self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicU64,
        task::{Context, Poll, Waker},
    };

    use futures_util::pin_mut;
    use tokio::sync::Notify;

    use super::*;

    /// Polls once.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn callers_that_wait_share_the_next_answer_and_never_an_older_one() {
        let flights: Flights<&str, u64> = Flights::default();
        let (searches, go) = (AtomicU64::new(0), Notify::new());
        let search = || async {
            let number = searches.fetch_add(1, SeqCst) + 1;
            go.notified().await;
            number
        };
        let (first, second, third) =
            (flights.join("q", search()), flights.join("q", search()), flights.join("q", search()));
        pin_mut!(first, second, third);
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending(), "the first search began before the second asked");
        assert!(poll(third.as_mut()).is_pending());
        go.notify_one();
        assert_eq!(first.await, 1);
        go.notify_one();
        assert_eq!((second.await, third.await), (2, 2), "two that waited share a search");
        assert_eq!(searches.load(SeqCst), 2);
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_caller_that_leaves_hands_the_search_to_the_next() {
        let flights: Flights<&str, u64> = Flights::default();
        {
            let stuck = flights.join("q", std::future::pending());
            pin_mut!(stuck);
            assert!(poll(stuck.as_mut()).is_pending());
        }
        assert_eq!(flights.join("q", async { 7 }).await, 7);
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn different_questions_do_not_wait_for_each_other() {
        let flights: Flights<&str, u64> = Flights::default();
        let stuck = flights.join("slow", std::future::pending());
        pin_mut!(stuck);
        assert!(poll(stuck.as_mut()).is_pending());
        assert_eq!(flights.join("quick", async { 1 }).await, 1);
    }
}
