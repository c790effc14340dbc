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
/// Seeds of the simulation, whose median counts.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// All that was measured.
pub(crate) struct Outcome {
    /// Rows a request.
    pub(crate) rows: u32,
    /// Load, as a multiple of what the worker can do.
    pub(crate) load: f64,
    /// What a batch costs, as the worker says after it was full.
    pub(crate) cost: BatchCost,
    /// The worker when it was full.
    pub(crate) saturation: Report,
    /// The worker under overload.
    pub(crate) report: Report,
    /// Its resident memory meanwhile, in bytes, in equal steps of time.
    pub(crate) memory: Vec<u64>,
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
        let simulated = self.simulated()?;
        let checks = self.checks(simulated)?;
        self.print_table(simulated);
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
        let growth = growth(&self.memory).context("no memory was seen")?;
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
    fn simulated(&self) -> Result<f64> {
        let cost = BatchCost { base: self.cost.base, per_unit: self.cost.per_unit.saturating_mul(self.rows) };
        let deadline = Duration::from_secs_f64(self.report.deadline_ms.context("a deadline")? / 1e3);
        goodput(cost, BATCH_ROWS / self.rows, deadline, self.report.rate, &SEEDS)
    }

    fn print_table(&self, simulated: f64) {
        let Self { load, cost, saturation, report, rows, .. } = self;
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
            thirds(&self.memory).map_or_else(String::new, |(first, last)| {
                format!("{:.1} to {:.1}", first / MIB, last / MIB)
            }),
            report.lag_ms.p99,
        );
        println!("\n{report}");
    }
}

const MIB: f64 = 1048576.0;

/// How much more the last third is than the first.
fn growth(values: &[u64]) -> Option<f64> {
    thirds(values).map(|(first, last)| last / first)
}

/// Means of the first and the last third.
fn thirds(values: &[u64]) -> Option<(f64, f64)> {
    let third = values.len() / 3;
    let mean = |part: &[u64]| {
        let sum: u64 = part.iter().sum();
        sum as f64 / part.len() as f64
    };
    let last = values.get(values.len().saturating_sub(third)..)?;
    Some((mean(values.get(..third)?), mean(last))).filter(|_| third > 0)
}
