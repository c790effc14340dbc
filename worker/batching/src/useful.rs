//! How large a batch is worth while, from what warm-up measured.

use std::time::Duration;

/// The smallest of the measured sizes whose throughput is within 10 % of the best one's: beyond it a batch makes
/// requests wait and wins next to nothing. `samples` are (rows, time of the batch). 1 without a sample.
#[must_use]
pub fn useful_rows(samples: &[(u32, Duration)]) -> u32 {
    let throughput = |(rows, time): &(u32, Duration)| f64::from(*rows) / time.as_secs_f64().max(1e-9);
    let best = samples.iter().map(throughput).fold(0.0, f64::max);
    let enough = samples.iter().filter(|sample| throughput(sample) >= 0.9 * best);
    enough.map(|(rows, _)| *rows).min().unwrap_or(1).max(1)
}
