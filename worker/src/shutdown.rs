//! How the worker goes away without losing a request.
//!
//! Running -> Draining (not ready, nothing new accepted, what was accepted is finished) -> Closing (idle connections
//! are closed) -> exit. The first SIGTERM or SIGINT begins it; a second one ends the process at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
};

/// Shortest time between the first refusal and the closing of connections, when there were any: gateways poll every
/// 250 ms, so each has seen that nothing more is accepted and a closed connection cannot meet a request. Never longer
/// than `drain_timeout`.
pub const MIN_NOTICE: Duration = Duration::from_millis(750);

/// How long connections may take to close once they were told to.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Finishing what was accepted; new requests are refused.
    Draining,
    /// Closing connections.
    Closing,
}

/// The process's phase and the requests it still owes an answer. Copies are one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    in_flight: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    requests: AtomicUsize,
    zero: Notify,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)), in_flight: Arc::default() }
    }
}

impl Shutdown {
    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on; never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Waits for a phase.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Counts a request in, until the guard is dropped; `None` when `limit` are in already.
    #[must_use]
    pub fn begin(&self, limit: usize) -> Option<RequestGuard> {
        let guard = RequestGuard(Arc::clone(&self.in_flight));
        // Sequentially consistent with the phase's lock: a request that saw Running is counted before the drain looks.
        let before = self.in_flight.requests.fetch_add(1, Ordering::SeqCst);
        (before < limit).then_some(guard)
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.requests.load(Ordering::SeqCst)
    }

    /// Waits until no request is in flight.
    pub async fn idle(&self) {
        while self.in_flight() > 0 {
            self.in_flight.zero.notified().await;
        }
    }
}

/// A request that is owed an answer.
#[derive(Debug)]
pub struct RequestGuard(Arc<Count>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.zero.notify_one();
        }
    }
}

/// The signals that stop the worker.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes the signals over from the system's default, which ends the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next SIGTERM or SIGINT and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Ends the process at once. Not `std::process::exit`: that runs libtorch's destructors, under lane threads that may
/// still be in a forward pass.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer, runs no destructor and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests;
