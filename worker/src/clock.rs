//! The one place that reads time.
//!
//! Everything else is given a [`Clock`] and works with durations since the process's start, so that queues and
//! deadlines can be tested without waiting. Wall-clock time is for people only: in logs, by the logging library, and in
//! the statistics of a model.

#![expect(clippy::disallowed_types, reason = "this is the clock module")]

use std::time::{Duration, Instant, SystemTime};

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

    /// Milliseconds since the beginning of 1970. May jump; 0 when the system's clock stands before that.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
