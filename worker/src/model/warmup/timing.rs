//! How long batches take: timed passes of each size, with every lane of the device at work.
//!
//! Part of `warmup`. Work is bounded: a size whose passes do not fit the time left is not timed, and the first passes
//! of its shape must do. Where the model may not run as often at the same time as the device has lanes, stand-ins
//! keep the other lanes' cores busy.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Builder},
    time::Duration,
};

use weir_batching::BatchCost;

use super::{limit, probe::Probe};
use crate::backend;

/// Least timed passes of a size: the median of fewer says nothing.
const LEAST_PASSES: u32 = 3;

/// Most timed passes of a size.
const MOST_PASSES: u32 = 100;

/// Timed passes of a size take at least this together, up to [`MOST_PASSES`]: one of 30 us says little by itself, and
/// threads need some time to really run at once.
const LEAST_WORK: Duration = Duration::from_millis(5);

/// Floats that a stand-in goes through, 8 MiB: more than a core's own caches hold, so that it uses the memory as well.
const STAND_IN_FLOATS: usize = 2 << 20;

/// Who runs while passes are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crew {
    /// Passes of the model that run at the same time; at least 1.
    pub lanes: u32,
    /// Threads that are busy beside them.
    pub stand_ins: u32,
    /// Threads that one pass may use; at least 1.
    pub intra_op_threads: usize,
}

/// Times one version.
pub(super) struct Timer {
    pub(super) crew: Crew,
    /// Wanted for each size; more where they are short, fewer where time is.
    pub(super) passes: u32,
}

impl Timer {
    /// The median time of batches, ascending by size. `first` are those of one row and of the most rows as the first
    /// passes took them, which stand where nothing better is found. Takes about `budget` in each thread, or less.
    pub(super) fn measure(
        &self,
        probe: &Probe<'_>,
        first: &[(u32, Duration)],
        budget: Duration,
        timing: &mut dyn FnMut(u32),
    ) -> Result<Vec<(u32, Duration)>, String> {
        let max = first.iter().map(|(rows, _)| *rows).max().unwrap_or(1);
        let (mut times, mut left) = (first.to_vec(), budget);
        for rows in order(max) {
            timing(rows);
            let expected = BatchCost::fit(&times).map_or(Duration::ZERO, |cost| cost.of(rows));
            let Some(passes) = self.passes(expected, left) else { continue };
            let time = self.time(probe, rows, passes)?;
            left = left.saturating_sub(time.saturating_mul(passes + 1));
            times.retain(|(known, _)| *known != rows);
            times.push((rows, time));
        }
        times.sort_unstable();
        Ok(times)
    }

    /// How many passes of this length to time, beside one that is not; `None` when too few fit the time left. Other sizes
    /// want some of it: for more than the least a quarter must do.
    fn passes(&self, expected: Duration, left: Duration) -> Option<u32> {
        let count =
            |time: Duration| u32::try_from(time.as_nanos() / expected.as_nanos().max(1)).unwrap_or(u32::MAX);
        let wanted = count(LEAST_WORK).min(MOST_PASSES).max(self.passes);
        let passes = wanted.min(count(left / 4).saturating_sub(1)).max(LEAST_PASSES);
        (count(left) > passes).then_some(passes)
    }

    /// The median over all passes of all lanes.
    fn time(&self, probe: &Probe<'_>, rows: u32, passes: u32) -> Result<Duration, String> {
        let lane = || -> Result<Vec<Duration>, String> {
            let _scope = backend::enter_lane(self.crew.intra_op_threads);
            // The first on this thread.
            probe.pass(0..rows)?;
            (0..passes).map(|_| Ok(probe.pass(0..rows)?.time)).collect()
        };
        let lanes: Result<Vec<_>, String> = thread::scope(|scope| {
            let start = |_| Builder::new().name("warm-up".to_owned()).spawn_scoped(scope, lane);
            let threads: Result<Vec<_>, _> = (0..self.crew.lanes.max(1)).map(start).collect();
            let threads = threads.map_err(|error| format!("a thread cannot be started: {error}"))?;
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err("warm-up panicked".to_owned()))
            };
            threads.into_iter().map(join).collect()
        });
        let mut times = lanes?.concat();
        times.sort_unstable();
        times.get(times.len() / 2).copied().ok_or_else(|| "nothing was timed".to_owned())
    }
}

/// The sizes to time, those first that say most.
fn order(max: u32) -> Vec<u32> {
    let mut order = Vec::new();
    for rows in [1, max, (max / 2).max(1)].into_iter().chain(limit::sizes(max)) {
        if !order.contains(&rows) {
            order.push(rows);
        }
    }
    order
}

/// Does `work` while stand-ins are busy.
pub(super) fn beside_stand_ins<T>(stand_ins: u32, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&done);
        for _ in 0..stand_ins {
            // Without them times are a little short, which the first batches set right: no reason to fail.
            let _ = Builder::new().name("warm-up".to_owned()).spawn_scoped(scope, || keep_busy(&done));
        }
        work()
    })
}

/// Ends the stand-ins however the work ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a forward pass mostly does, on nothing: multiplies and adds numbers that lie in memory.
fn keep_busy(done: &AtomicBool) {
    let numbers = vec![1.0_f32; STAND_IN_FLOATS];
    let mut sums = [0.0_f32; 16];
    while !done.load(Ordering::Relaxed) {
        for part in numbers.chunks_exact(sums.len()) {
            sums.iter_mut().zip(part).for_each(|(sum, number)| *sum = *sum * 0.5 + number);
        }
        std::hint::black_box(&sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_and_the_most_come_first_then_the_half_then_what_lies_between() {
        assert_eq!(order(1), [1]);
        assert_eq!(order(2), [1, 2]);
        assert_eq!(order(3), [1, 3, 2]);
        assert_eq!(order(32), [1, 32, 16, 2, 4, 8]);
    }

    #[test]
    fn short_passes_are_repeated_more_often_and_long_ones_as_time_allows() {
        let crew = Crew { lanes: 1, stand_ins: 0, intra_op_threads: 1 };
        let timer = Timer { crew, passes: 5 };
        let passes = |expected: u64, left: u64| {
            timer.passes(Duration::from_micros(expected), Duration::from_micros(left))
        };
        for (expected, left, passes_expected) in [
            (10_000, 1_000_000, Some(5)),
            (500, 1_000_000, Some(10)),
            (10, 1_000_000, Some(100)),
            (0, 1_000_000, Some(100)),
            (10_000, 200_000, Some(4)),
            (10_000, 50_000, Some(3)),
            (10_000, 40_000, Some(3)),
            (10_000, 39_000, None),
            (10_000, 0, None),
        ] {
            assert_eq!(passes(expected, left), passes_expected, "{expected} us, {left} us left");
        }
    }

    #[test]
    fn stand_ins_end_with_the_work_also_when_it_panics() {
        assert_eq!(beside_stand_ins(2, || 7), 7);
        assert!(std::panic::catch_unwind(|| beside_stand_ins(2, || panic!("on purpose"))).is_err());
    }
}
