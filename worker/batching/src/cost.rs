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
        let per_unit = Duration::from_secs_f64(slope.max(0.0)).max(LEAST);
        let base = Duration::from_secs_f64((mean_t - per_unit.as_secs_f64() * mean_n).max(0.0)).max(LEAST);
        Some(Self { base, per_unit })
    }

    /// Time of a batch of `units`.
    #[must_use]
    pub fn of(&self, units: u32) -> Duration {
        self.base.saturating_add(self.per_unit.saturating_mul(units))
    }
}
