//! What a batch costs: a fixed part and a part per unit.
//!
//! Pure arithmetic. Fitted at warm-up, scaled online by the queue, read by batch choice, admission and the quote.

use std::time::Duration;

/// Time of a batch of n units: `base + n x per_unit`. A unit is a row of the queue's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchCost {
    /// The part that every batch pays; at least 1 us.
    pub base: Duration,
    /// The part of one unit; at least 1 us.
    pub per_unit: Duration,
}

/// Smallest value of either part: a measured zero would divide by itself later on.
const LEAST: Duration = Duration::from_micros(1);

impl BatchCost {
    /// The least-squares line through measured batches of (units, time); both parts are at least 1 us. `None` without
    /// a sample.
    #[must_use]
    pub fn fit(samples: &[(u32, Duration)]) -> Option<Self> {
        let count = u32::try_from(samples.len()).ok().filter(|count| *count > 0)?;
        let mean_n = samples.iter().map(|(n, _)| f64::from(*n)).sum::<f64>() / f64::from(count);
        let mean_t = samples.iter().map(|(_, t)| t.as_secs_f64()).sum::<f64>() / f64::from(count);
        let spread: f64 = samples.iter().map(|(n, _)| (f64::from(*n) - mean_n).powi(2)).sum();
        let joint: f64 =
            samples.iter().map(|(n, t)| (f64::from(*n) - mean_n) * (t.as_secs_f64() - mean_t)).sum();
        // One size only: half of it is taken for fixed.
        let slope = if spread > 0.0 { joint / spread } else { mean_t / (2.0 * mean_n.max(1.0)) };
        let per_unit = seconds(slope).max(LEAST);
        let base = seconds(mean_t - per_unit.as_secs_f64() * mean_n).max(LEAST);
        Some(Self { base, per_unit })
    }

    /// Time of a batch of `units`.
    #[must_use]
    pub fn of(&self, units: u32) -> Duration {
        self.base.saturating_add(self.per_unit.saturating_mul(units))
    }

    /// Time of a batch of `units` on average: estimates have fractions of units.
    #[must_use]
    pub fn of_mean(&self, units: f64) -> Duration {
        self.base.saturating_add(times(self.per_unit, units))
    }

    /// The cost when everything takes `factor` times as long.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self { base: times(self.base, factor), per_unit: times(self.per_unit, factor) }
    }
}

/// `factor` times the duration, as [`seconds`].
pub(crate) fn times(duration: Duration, factor: f64) -> Duration {
    seconds(duration.as_secs_f64() * factor)
}

/// Zero when negative or no number, the longest duration when it is too much for one.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };

    fn samples(sizes: &[u32]) -> Vec<(u32, Duration)> {
        sizes.iter().map(|n| (*n, LINE.of(*n))).collect()
    }

    #[test]
    fn batches_on_a_line_give_that_line() {
        for sizes in [&[1, 32][..], &[1, 16, 32], &[4, 1, 2, 4, 64]] {
            let fit = BatchCost::fit(&samples(sizes)).unwrap();
            assert!(fit.base.abs_diff(LINE.base) < LEAST, "{sizes:?}: {fit:?}");
            assert!(fit.per_unit.abs_diff(LINE.per_unit) < LEAST, "{sizes:?}: {fit:?}");
        }
    }

    #[test]
    fn batches_off_the_line_are_balanced() {
        let mut samples = samples(&[1, 1, 32, 32]);
        for (index, (_, time)) in samples.iter_mut().enumerate() {
            *time = if index % 2 == 0 { *time * 9 / 10 } else { *time * 11 / 10 };
        }
        let fit = BatchCost::fit(&samples).unwrap();
        assert!(
            fit.base.abs_diff(LINE.base) < LEAST && fit.per_unit.abs_diff(LINE.per_unit) < LEAST,
            "{fit:?}"
        );
    }

    #[test]
    fn no_part_is_ever_less_than_a_microsecond() {
        let falling = [(1, Duration::from_millis(9)), (32, Duration::from_millis(1))];
        for samples in [&falling[..], &[(4, Duration::ZERO)], &[(0, Duration::ZERO), (8, Duration::ZERO)]] {
            let fit = BatchCost::fit(samples).unwrap();
            assert!(fit.base >= LEAST && fit.per_unit >= LEAST, "{samples:?}: {fit:?}");
        }
        assert_eq!(BatchCost::fit(&[]), None);
    }

    #[test]
    fn one_size_is_taken_for_half_fixed() {
        let time = Duration::from_millis(16);
        let fit = BatchCost::fit(&[(8, time), (8, time)]).unwrap();
        assert_eq!(fit, BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) });
    }

    #[test]
    fn what_is_too_long_for_a_duration_is_the_longest() {
        let fit = BatchCost::fit(&[(0, Duration::MAX), (u32::MAX, Duration::MAX)]).unwrap();
        assert_eq!(fit.scaled(20.0).of(u32::MAX), Duration::MAX);
        assert_eq!(times(LINE.base, f64::INFINITY), Duration::MAX);
        assert_eq!((times(LINE.base, f64::NAN), times(LINE.base, -1.0)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_mean_batch_lies_between_whole_ones() {
        assert_eq!(LINE.of_mean(3.0), LINE.of(3));
        assert_eq!(LINE.of_mean(2.5), Duration::from_micros(10_500));
        assert_eq!(LINE.scaled(0.5).of(4), Duration::from_millis(6));
    }
}
