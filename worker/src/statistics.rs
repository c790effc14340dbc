//! What one model version has done since the worker started: counts and times, in the protocol's words.
//!
//! Owns the sums. Everything about one request, or about one batch, is added under one short lock, so that a reader
//! never sees a request in one count and not in another: perf_analyzer refuses such numbers. Knows no clock. Written
//! by `infer::admission` (requests) and by lanes (batches), read by `control`. It belongs to the replica and so
//! outlives what is loaded.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use weir_protocol::grpc::{InferBatchStatistics, InferStatistics, ModelStatistics, StatisticDuration};

use crate::infer::Timings;

/// The sums of one model version.
#[derive(Debug, Default)]
pub struct Statistics {
    sums: Mutex<Sums>,
}

/// Where the time of one batch went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchTimes {
    /// Putting its rows together.
    pub compute_input: Duration,
    /// The forward pass, with the copies of its tensors in and out.
    pub compute_infer: Duration,
    /// Checking what came out.
    pub compute_output: Duration,
}

#[derive(Debug, Default)]
struct Sums {
    last_inference_ms: u64,
    rows: u64,
    passes: u64,
    success: StatisticDuration,
    fail: StatisticDuration,
    queue: StatisticDuration,
    compute_input: StatisticDuration,
    compute_infer: StatisticDuration,
    compute_output: StatisticDuration,
    batches: BTreeMap<u32, BatchSums>,
}

/// The sums of all batches of one size.
#[derive(Debug, Default)]
struct BatchSums {
    compute_input: StatisticDuration,
    compute_infer: StatisticDuration,
    compute_output: StatisticDuration,
}

impl Statistics {
    /// Adds a request that was answered with a result, `unix_ms` milliseconds after the beginning of 1970.
    pub fn record_ok(&self, timings: &Timings, unix_ms: u64) {
        let mut sums = self.sums.lock();
        sums.arrived(timings.total, unix_ms);
        sums.rows += u64::from(timings.rows);
        add(&mut sums.success, timings.total);
        add(&mut sums.queue, timings.queue);
        add(&mut sums.compute_input, timings.compute_input);
        add(&mut sums.compute_infer, timings.compute_infer);
        add(&mut sums.compute_output, timings.compute_output);
    }

    /// Adds a request that reached this version and got no result, `total` after its arrival.
    pub fn record_failed(&self, total: Duration, unix_ms: u64) {
        let mut sums = self.sums.lock();
        sums.arrived(total, unix_ms);
        add(&mut sums.fail, total);
    }

    /// Adds a forward pass that gave a result.
    pub fn record_batch(&self, rows: u32, times: &BatchTimes) {
        let mut sums = self.sums.lock();
        sums.passes += 1;
        let batch = sums.batches.entry(rows).or_default();
        add(&mut batch.compute_input, times.compute_input);
        add(&mut batch.compute_infer, times.compute_infer);
        add(&mut batch.compute_output, times.compute_output);
    }

    /// All of it at one moment. Names and memory are the caller's to fill in.
    #[must_use]
    pub fn snapshot(&self) -> ModelStatistics {
        let sums = self.sums.lock();
        let batch = |(rows, batch): (&u32, &BatchSums)| InferBatchStatistics {
            batch_size: u64::from(*rows),
            compute_input: Some(batch.compute_input),
            compute_infer: Some(batch.compute_infer),
            compute_output: Some(batch.compute_output),
        };
        ModelStatistics {
            last_inference: sums.last_inference_ms,
            inference_count: sums.rows,
            execution_count: sums.passes,
            inference_stats: Some(InferStatistics {
                success: Some(sums.success),
                fail: Some(sums.fail),
                queue: Some(sums.queue),
                compute_input: Some(sums.compute_input),
                compute_infer: Some(sums.compute_infer),
                compute_output: Some(sums.compute_output),
                cache_hit: Some(StatisticDuration::default()),
                cache_miss: Some(StatisticDuration::default()),
            }),
            batch_stats: sums.batches.iter().map(batch).collect(),
            ..ModelStatistics::default()
        }
    }
}

impl Sums {
    /// Notes the arrival of a request that ended now. Requests may end in another order than they came.
    fn arrived(&mut self, total: Duration, unix_ms: u64) {
        let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        self.last_inference_ms = self.last_inference_ms.max(unix_ms.saturating_sub(total_ms));
    }
}

fn add(sum: &mut StatisticDuration, time: Duration) {
    sum.count += 1;
    sum.ns = sum.ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn sum(count: u64, millis: u64) -> Option<StatisticDuration> {
        Some(StatisticDuration { count, ns: millis * 1_000_000 })
    }

    #[test]
    fn a_request_is_counted_in_every_part_of_its_time() {
        let statistics = Statistics::default();
        let timings = Timings {
            rows: 4,
            parts: 1,
            quoted: ms(7),
            compute_input: ms(1),
            queue: ms(2),
            compute_infer: ms(4),
            compute_output: ms(8),
            total: ms(15),
        };
        statistics.record_ok(&timings, 1_000);
        statistics.record_ok(&timings, 2_000);
        statistics.record_failed(ms(100), 2_050);
        let snapshot = statistics.snapshot();
        assert_eq!((snapshot.inference_count, snapshot.execution_count), (8, 0));
        assert_eq!(snapshot.last_inference, 1_985, "the arrival of the second; the third came before it");
        let expected = InferStatistics {
            success: sum(2, 30),
            fail: sum(1, 100),
            queue: sum(2, 4),
            compute_input: sum(2, 2),
            compute_infer: sum(2, 8),
            compute_output: sum(2, 16),
            cache_hit: sum(0, 0),
            cache_miss: sum(0, 0),
        };
        assert_eq!(snapshot.inference_stats, Some(expected));
    }

    #[test]
    fn batches_are_summed_by_their_size() {
        let statistics = Statistics::default();
        let times = BatchTimes { compute_input: ms(1), compute_infer: ms(2), compute_output: ms(3) };
        for rows in [4, 1, 4] {
            statistics.record_batch(rows, &times);
        }
        let snapshot = statistics.snapshot();
        assert_eq!(snapshot.execution_count, 3);
        let batch = |batch_size, count| InferBatchStatistics {
            batch_size,
            compute_input: sum(count, count),
            compute_infer: sum(count, 2 * count),
            compute_output: sum(count, 3 * count),
        };
        assert_eq!(snapshot.batch_stats, [batch(1, 1), batch(4, 2)]);
    }

    #[test]
    fn sums_stop_at_the_end_of_their_range() {
        let statistics = Statistics::default();
        statistics.record_failed(Duration::MAX, 7);
        statistics.record_failed(Duration::MAX, 7);
        let snapshot = statistics.snapshot();
        let fail = snapshot.inference_stats.and_then(|stats| stats.fail);
        assert_eq!(fail, Some(StatisticDuration { count: 2, ns: u64::MAX }));
        assert_eq!(snapshot.last_inference, 0);
    }
}
