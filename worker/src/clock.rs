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

/// Processor time that the calling thread has used so far; does not grow while it waits, for a core as for anything
/// else. Zero when the system does not say.
#[must_use]
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock's number is the system's own, and it writes to a struct that is ours.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}
