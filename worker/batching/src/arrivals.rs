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

#[cfg(test)]
mod tests {
    use super::*;

    fn every(gap: Duration, rows: u32, from: Duration, to: Duration, arrivals: &mut Arrivals) {
        let mut now = from;
        while now < to {
            arrivals.record(now, rows);
            now += gap;
        }
    }

    #[test]
    fn a_steady_stream_has_the_rate_that_it_has() {
        for (gap_ms, rows, expected) in [(10, 1, 100.0), (1, 1, 1000.0), (10, 7, 700.0)] {
            let mut arrivals = Arrivals::default();
            every(Duration::from_millis(gap_ms), rows, Duration::ZERO, MEMORY * 8, &mut arrivals);
            let rate = arrivals.per_second(MEMORY * 8);
            assert!((rate / expected - 1.0).abs() < 0.02, "{rate} for {expected}");
        }
    }

    #[test]
    fn what_is_idle_forgets() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.per_second(MEMORY).to_bits(), 0, "nothing came yet");
        every(Duration::from_millis(1), 1, Duration::ZERO, MEMORY * 8, &mut arrivals);
        let (then, later) = (arrivals.per_second(MEMORY * 8), arrivals.per_second(MEMORY * 9));
        assert!((later * std::f64::consts::E / then - 1.0).abs() < 1e-6, "{then} {later}");
        assert!(arrivals.per_second(Duration::MAX) < 1e-9);
    }

    #[test]
    fn a_change_of_rate_shows_within_its_memory() {
        let mut arrivals = Arrivals::default();
        every(Duration::from_millis(10), 1, Duration::ZERO, MEMORY * 8, &mut arrivals);
        every(Duration::from_millis(1), 1, MEMORY * 8, MEMORY * 9, &mut arrivals);
        let rate = arrivals.per_second(MEMORY * 9);
        // 100 + 900 (1 - 1/e)
        assert!((640.0..700.0).contains(&rate), "{rate}");
    }

    #[test]
    fn time_that_stands_still_or_comes_out_of_order_counts_every_row_once() {
        let mut arrivals = Arrivals::default();
        for at in [5, 5, 3] {
            arrivals.record(Duration::from_secs(at), 2);
        }
        let rows = arrivals.per_second(Duration::from_secs(5)) * MEMORY.as_secs_f64();
        assert!((rows - 6.0).abs() < 1e-9, "{rows}");
    }
}
