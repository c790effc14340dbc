//! When requests are due: a pure sequence of offsets from the start of a run.
//!
//! Knows no clock; the seed is an argument, so that a run can be repeated. The engine's pacer waits for each offset.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How the gaps between requests are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Process {
    /// Independent clients: exponential gaps, bursts included. The default.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

impl Process {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
        }
    }
}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The rate is not a positive number of at most a million.
    #[error("rate {0} is not usable: give requests per second, above 0 and at most 1000000")]
    Rate(f64),
    /// There is nothing to send.
    #[error("nothing to send: rate and duration give less than one request")]
    Empty,
}

/// A finite sequence of due times.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    process: Process,
    rate: f64,
    requests: u64,
    seed: u64,
}

impl Schedule {
    /// A schedule of `requests` arrivals at a mean of `rate` requests per second.
    ///
    /// # Errors
    /// [`ScheduleError`] when the rate is outside (0, 1,000,000] or `requests` is 0.
    pub fn new(process: Process, rate: f64, requests: u64, seed: u64) -> Result<Self, ScheduleError> {
        if !(rate > 0.0 && rate <= 1e6) {
            return Err(ScheduleError::Rate(rate));
        }
        if requests == 0 {
            return Err(ScheduleError::Empty);
        }
        Ok(Self { process, rate, requests, seed })
    }

    /// As many requests as `rate` gives in `length`, rounded.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn lasting(process: Process, rate: f64, length: Duration, seed: u64) -> Result<Self, ScheduleError> {
        let requests = (rate * length.as_secs_f64()).round();
        // A float cast saturates, and a rate that is no number is refused by `new`.
        Self::new(process, rate, requests as u64, seed)
    }

    /// How the gaps are drawn.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }

    /// Mean requests per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Seed of the gaps.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The due times as offsets from the start, ascending; the first is 0.
    pub fn offsets(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let Self { process, rate, requests, seed } = *self;
        let mut random = StdRng::seed_from_u64(seed);
        let mut elapsed = 0.0_f64;
        (0..requests).map(move |index| {
            let due = elapsed;
            elapsed = match process {
                // Multiplied, not summed: a sum of a million gaps drifts.
                Process::Constant => (index + 1) as f64 / rate,
                // 1 - u is in (0, 1], where the logarithm is finite.
                Process::Poisson => elapsed - (1.0 - random.random::<f64>()).ln() / rate,
            };
            Duration::from_secs_f64(due)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_do_not_drift() {
        let schedule = Schedule::new(Process::Constant, 3.0, 3_000_001, 1).unwrap();
        assert_eq!(schedule.offsets().next(), Some(Duration::ZERO));
        assert_eq!(schedule.offsets().last(), Some(Duration::from_secs(1_000_000)));
    }

    #[test]
    fn poisson_gaps_have_the_asked_mean_and_an_exponential_spread() {
        for seed in [1, 2, 3] {
            let n = 100_000;
            let at: Vec<f64> = Schedule::new(Process::Poisson, 200.0, n, seed)
                .unwrap()
                .offsets()
                .map(|d| d.as_secs_f64())
                .collect();
            let gaps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean * 200.0 - 1.0).abs() < 0.02, "seed {seed}: mean gap {mean}");
            assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "seed {seed}: not exponential");
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let run =
            |seed| Schedule::new(Process::Poisson, 50.0, 20, seed).unwrap().offsets().collect::<Vec<_>>();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn unusable_rates_and_empty_schedules_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e6] {
            assert!(Schedule::new(Process::Constant, rate, 1, 0).is_err(), "rate {rate}");
        }
        assert_eq!(
            Schedule::lasting(Process::Constant, 1.0, Duration::from_millis(400), 0),
            Err(ScheduleError::Empty)
        );
        let ten = Schedule::lasting(Process::Constant, 20.0, Duration::from_millis(500), 0).unwrap();
        assert_eq!(ten.requests(), 10);
    }
}
