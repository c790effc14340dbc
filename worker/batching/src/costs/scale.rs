//! How much longer batches take of late than their line says.
//!
//! Pure arithmetic: an average that forgets, within bounds. One per queue; `costs` owns and feeds it.

use std::time::Duration;

/// Weight of the newest batch: five batches or so count.
const WEIGHT: f64 = 0.2;
/// A machine that is four times as fast as at warm-up, or twenty times as slow, is not believed.
const LEAST: f64 = 0.25;
const MOST: f64 = 20.0;
/// One batch counts for no more than this many times the present scale: a process that was stopped for a second would
/// otherwise take its next requests for hopeless. Below it the average is exact.
const SURPRISE: f64 = 4.0;

/// Measured over expected time of batches; 1 = as expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale(f64);

impl Default for Scale {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Scale {
    /// Learns from a batch that was expected to take `expected` at scale 1.
    pub(super) fn observe(&mut self, measured: Duration, expected: Duration) {
        if expected.is_zero() {
            return;
        }
        let ratio = measured.as_secs_f64() / expected.as_secs_f64();
        let next = self.0 + WEIGHT * (ratio.min(SURPRISE * self.0) - self.0);
        self.0 = next.clamp(LEAST, MOST);
    }

    pub(super) fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Duration = Duration::from_millis(10);

    fn after(ratios: &[f64]) -> f64 {
        let mut scale = Scale::default();
        for ratio in ratios {
            scale.observe(EXPECTED.mul_f64(*ratio), EXPECTED);
        }
        scale.get()
    }

    #[test]
    fn a_batch_counts_for_a_fifth() {
        for (ratios, expected) in
            [(&[1.0; 3][..], 1.0), (&[2.0], 1.2), (&[2.0, 2.0], 1.36), (&[0.5], 0.9), (&[4.0, 1.0], 1.48)]
        {
            let scale = after(ratios);
            assert!((scale - expected).abs() < 1e-9, "{ratios:?}: {scale}");
        }
    }

    #[test]
    fn it_follows_a_machine_that_has_become_slower_or_faster() {
        for ratio in [0.3, 0.5, 3.0, 15.0] {
            assert!((after(&[ratio; 40]) / ratio - 1.0).abs() < 0.01, "{ratio}");
        }
    }

    #[test]
    fn it_stays_within_its_bounds_whatever_it_is_told() {
        for (ratio, bound) in [(1e6, MOST), (0.0, LEAST)] {
            assert_eq!(after(&[ratio; 200]).to_bits(), bound.to_bits());
        }
        let mut scale = Scale::default();
        scale.observe(Duration::MAX, Duration::from_nanos(1));
        scale.observe(Duration::ZERO, Duration::ZERO);
        assert!((scale.get() - 1.6).abs() < 1e-9, "{}", scale.get());
    }

    #[test]
    fn one_batch_out_of_line_does_not_make_the_next_ones_hopeless() {
        assert!(after(&[1000.0]) < 1.7);
        assert!(after(&[1000.0, 1.0, 1.0, 1.0, 1.0, 1.0]) < 1.2);
    }
}
