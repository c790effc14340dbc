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

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(samples: &[(u32, u64)]) -> u32 {
        let samples: Vec<_> = samples.iter().map(|(rows, us)| (*rows, Duration::from_micros(*us))).collect();
        useful_rows(&samples)
    }

    #[test]
    fn the_smallest_size_within_a_tenth_of_the_best_throughput_is_useful() {
        // 1 ms + 0.1 ms per row: 16 rows run at 6.2 per ms, 32 at 7.6, 64 at 8.6, 128 at 9.3.
        let line = [(1, 1100), (16, 2600), (32, 4200), (64, 7400), (128, 13_800)];
        assert_eq!(measured(&line), 64);
        assert_eq!(measured(&line[..3]), 32, "16 has 0.81 of the best measured");
        assert_eq!(measured(&[(1, 100), (2, 201), (64, 6300)]), 1, "nothing is won by company");
        assert_eq!(measured(&[(64, 900), (1, 1000), (32, 500)]), 32, "64 is a little better, in any order");
        assert_eq!(measured(&[(32, 1000), (64, 4000)]), 32, "larger may be worse");
    }

    #[test]
    fn without_a_time_that_means_anything_it_is_still_a_size() {
        assert_eq!(measured(&[]), 1);
        assert_eq!(measured(&[(8, 0), (16, 0)]), 16);
        assert_eq!(measured(&[(0, 10)]), 1);
    }
}
