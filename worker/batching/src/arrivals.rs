//! How fast rows arrive at a bucket: a moving average that forgets.
//!
//! Pure: time is an argument. The device records every ticket that it admits; the quote reads the rate to tell how far
//! batches fill up before they run.

use std::time::Duration;

/// An arrival counts for e^-1 of itself after this long: some tens of batches, so that single batches do not show and
/// a burst of a second does.
const MEMORY: Duration = Duration::from_millis(500);

/// Rows per second, of late.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Arrivals {
    /// Rows that came, each counted for what `MEMORY` left of it at `last`.
    rows: f64,
    /// When the last ones came.
    last: Duration,
}

impl Arrivals {
    /// Counts rows that came at `now`.
    pub fn record(&mut self, now: Duration, rows: u32) {
        *self = Self { rows: self.rows_at(now) + f64::from(rows), last: self.last.max(now) };
    }

    /// The rate at `now`, in rows per second; falls towards zero while nothing comes.
    #[must_use]
    pub fn per_second(&self, now: Duration) -> f64 {
        self.rows_at(now) / MEMORY.as_secs_f64()
    }

    fn rows_at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.rows * (-passed / MEMORY.as_secs_f64()).exp()
    }
}
