//! What was found, against what is promised.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use weir_loadtest::{
    Report,
    simulate::batching::{BatchCost, goodput},
};

use crate::served::BATCH_ROWS;

/// Least share of what the simulation answers in time.
const IN_TIME: f64 = 0.85;
/// Longest time until a refusal, at the 99th percentile, in milliseconds.
const REFUSAL_MS: f64 = 20.0;
/// Most that memory may grow from the first third of the time to the last.
const GROWTH: f64 = 1.05;
/// Bytes.
const MIB: f64 = 1048576.0;
/// Seeds of the simulation, whose median counts.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// All that was measured.
pub(crate) struct Outcome {
    /// Rows a request.
    pub(crate) rows: u32,
    /// Load, as a multiple of what the worker can do.
    pub(crate) load: f64,
    /// The worker when it was full.
    pub(crate) saturation: Report,
    /// The worker under overload.
    pub(crate) report: Report,
    /// What it looked like meanwhile, in equal steps of time.
    pub(crate) looks: Vec<Look>,
}

/// The worker at one moment.
pub(crate) struct Look {
    /// Resident memory, in bytes.
    pub(crate) memory: u64,
    /// What a batch costs, as the worker says: a machine with other work changes its pace within seconds.
    pub(crate) cost: BatchCost,
}

/// One promise.
struct Check {
    name: &'static str,
    value: f64,
    limit: f64,
    ok: bool,
}

impl Outcome {
    /// Prints a table, what the load generator saw, and one JSON line a promise; whether all are kept.
    pub(crate) fn print(&self) -> Result<bool> {
        let cost = self.cost().context("nobody looked at the worker")?;
        let simulated = self.simulated(cost)?;
        let checks = self.checks(simulated)?;
        self.print_table(cost, simulated);
        for Check { name, value, limit, ok } in &checks {
            println!(
                "{}",
                json!({ "bench": "overload", "name": name, "value": value, "limit": limit, "ok": ok })
            );
        }
        Ok(checks.iter().all(|check| check.ok))
    }

    fn checks(&self, simulated: f64) -> Result<[Check; 3]> {
        let in_time = self.in_time() / simulated;
        let refusal = self.report.refusal_ms.p99;
        let growth = self.growth().context("no memory was seen")?;
        Ok([
            Check {
                name: "share in time, of what the simulation answers",
                value: in_time,
                limit: IN_TIME,
                ok: in_time >= IN_TIME,
            },
            Check {
                name: "p99 until a refusal, ms",
                value: refusal,
                limit: REFUSAL_MS,
                ok: refusal <= REFUSAL_MS,
            },
            Check {
                name: "memory of the last third over the first",
                value: growth,
                limit: GROWTH,
                ok: growth <= GROWTH,
            },
        ])
    }

    /// Share of the requests that were due and answered in time.
    fn in_time(&self) -> f64 {
        let in_time = self.report.in_time.unwrap_or_default();
        in_time as f64 / self.report.requests.max(1) as f64
    }

    /// The same by the simulation, for the measured costs and the same rate. A request is its unit, however many rows it
    /// has: all have as many.
    fn simulated(&self, cost: BatchCost) -> Result<f64> {
        let cost = BatchCost { base: cost.base, per_unit: cost.per_unit.saturating_mul(self.rows) };
        let deadline = Duration::from_secs_f64(self.report.deadline_ms.context("a deadline")? / 1e3);
        goodput(cost, BATCH_ROWS / self.rows, deadline, self.report.rate, &SEEDS)
    }

    /// What a batch cost under overload, in the mean.
    fn cost(&self) -> Option<BatchCost> {
        let looks = u32::try_from(self.looks.len()).ok().filter(|looks| *looks > 0)?;
        let mean = |part: fn(&BatchCost) -> Duration| {
            self.looks.iter().map(|look| part(&look.cost)).sum::<Duration>() / looks
        };
        Some(BatchCost { base: mean(|cost| cost.base), per_unit: mean(|cost| cost.per_unit) })
    }

    /// How much more memory there was in the last third than in the first.
    fn growth(&self) -> Option<f64> {
        self.memory_thirds().map(|(first, last)| last / first)
    }

    /// Mean memory in the first and the last third, in bytes.
    fn memory_thirds(&self) -> Option<(f64, f64)> {
        let third = self.looks.len() / 3;
        let mean = |part: &[Look]| {
            let sum: u64 = part.iter().map(|look| look.memory).sum();
            sum as f64 / part.len() as f64
        };
        let last = self.looks.get(self.looks.len().saturating_sub(third)..)?;
        Some((mean(self.looks.get(..third)?), mean(last))).filter(|_| third > 0)
    }

    fn print_table(&self, cost: BatchCost, simulated: f64) {
        let Self { load, saturation, report, rows, .. } = self;
        println!(
            "| rows a request | batch of n rows, ms | full, requests/s | offered/s | in time | simulated | ratio \
             | refusal p50 / p99 ms | memory MiB | client lag p99 ms |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        println!(
            "| {rows} | {:.3} + {:.4} n | {:.0} | {:.0} ({load}x) | {:.1} % | {:.1} % | {:.3} | {:.1} / {:.1} \
             | {} | {:.1} |",
            cost.base.as_secs_f64() * 1e3,
            cost.per_unit.as_secs_f64() * 1e3,
            saturation.throughput,
            report.rate,
            self.in_time() * 100.0,
            simulated * 100.0,
            self.in_time() / simulated,
            report.refusal_ms.p50,
            report.refusal_ms.p99,
            self.memory_thirds().map_or_else(String::new, |(first, last)| {
                format!("{:.1} to {:.1}", first / MIB, last / MIB)
            }),
            report.lag_ms.p99,
        );
        println!("\n{report}");
    }
}
