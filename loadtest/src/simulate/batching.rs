//! The study of batching on one device: which share of requests is answered in time, and how soon the others learn
//! that they will not be.
//!
//! A [`Scenario`] says what is simulated and what must come out; [`study`] runs it over loads and seeds, with Weir's
//! own `weir_batching` and, to compare, with the rules of other servers; [`Results`] turns that into checks and
//! tables. [`goodput`] is the same simulation for one model, as the bar for a live run.

mod figure;
mod request;
mod results;
mod rule;
mod scenario;
mod tally;
mod world;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
pub use weir_batching::BatchCost;

pub use figure::Figure;
pub use results::{Record, Results};
pub use rule::Rule;
pub use scenario::{Baseline, Gate, Model, Scenario, Stream, Turns};

use crate::simulate::{batching::tally::Tally, seeds::median};

/// The scenarios that decide whether batching is as good as it must be, and what else is worth watching.
pub const SCENARIOS: &str = include_str!("../../scenarios/batching.toml");

/// One run of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Job {
    scenario: usize,
    rule: Rule,
    load: f64,
    seed: u64,
}

/// Runs scenarios with every seed, on as many threads as there are cores. `progress` is told how many runs are done,
/// and of how many. The results do not depend on threads.
///
/// # Errors
/// A load leaves a stream without requests, or asks for more than a million in a second.
pub fn study(
    scenarios: Vec<Scenario>,
    seeds: &[u64],
    baselines: bool,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Results> {
    let jobs = jobs(&scenarios, seeds, baselines);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Relaxed: the counters hand out indices, and joining the threads orders what they computed.
    let work = || {
        let mut tallies = Vec::new();
        while let Some((index, job)) = take(&jobs, &next) {
            let scenario = scenarios.get(job.scenario).context("a run belongs to a scenario")?;
            let tally = world::run(scenario, job.rule, job.load, job.seed);
            tallies.push((index, tally.with_context(|| format!("scenario '{}'", scenario.name))?));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
        anyhow::Ok(tallies)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tallies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut tallies = Vec::new();
        for thread in threads {
            tallies.extend(thread.join().map_err(|_| anyhow::anyhow!("a run panicked"))??);
        }
        anyhow::Ok(tallies)
    })?;
    tallies.sort_by_key(|(index, _)| *index);
    let runs = jobs.into_iter().zip(tallies.into_iter().map(|(_, tally)| tally)).collect();
    Ok(Results::new(scenarios, seeds, runs))
}

fn take<'a>(jobs: &'a [Job], next: &AtomicUsize) -> Option<(usize, &'a Job)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(index).map(|job| (index, job))
}

fn jobs(scenarios: &[Scenario], seeds: &[u64], baselines: bool) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let others = scenario.baselines.iter().map(|baseline| baseline.rule).filter(|_| baselines);
        for rule in others.chain([Rule::Weir]) {
            for load in &scenario.loads {
                jobs.extend(seeds.iter().map(|seed| Job { scenario: index, rule, load: *load, seed: *seed }));
            }
        }
    }
    jobs
}

/// Share of requests answered within `deadline` on one lane, median over `seeds`: one model, one row a request,
/// independent clients that send `rate` requests per second in all.
///
/// # Errors
/// The rate is not above 0 and at most a million.
pub fn goodput(
    cost: BatchCost,
    max_batch_rows: u32,
    deadline: Duration,
    rate: f64,
    seeds: &[u64],
) -> Result<f64> {
    let scenario = Scenario::of_one(Model::of(cost, max_batch_rows), deadline);
    let full = f64::from(max_batch_rows) / cost.of(max_batch_rows).as_secs_f64();
    let in_time = |seed: &u64| {
        let tally: Tally = world::run(&scenario, Rule::Weir, rate / full, *seed)?;
        Ok(tally.figure(Figure::InTime, None))
    };
    Ok(median(&seeds.iter().map(in_time).collect::<Result<Vec<f64>>>()?))
}

#[cfg(test)]
mod tests;
