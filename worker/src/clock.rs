//! The one place that reads time.
//!
//! Everything else is given a [`Clock`] and works with durations since the process's start, so that queues and
//! deadlines can be tested without waiting. Wall-clock time is used in logs only, by the logging library.

#![expect(clippy::disallowed_types, reason = "this is the clock module")]

use std::time::{Duration, Instant};

/// A monotonic clock that began when it was made. Copies show the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now, at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the clock began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
