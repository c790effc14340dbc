//! `bench-overload`: what a worker does when half as much again comes as it can do, beside what the simulator says.
//!
//! The real worker with one lane and the MLP of `worker/examples/models`. First as much as it can do; then 1.5 times
//! that, at times that do not depend on answers, each answer useful for 50 ms. The share answered in time is held against
//! `weir_loadtest::simulate` for the costs that the worker itself reports meanwhile. Run by `cargo xtask bench overload`; needs
//! release binaries, `examples/models` among them, in `WEIR_BIN_DIR` or beside it.

mod outcome;
mod served;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::time::{Instant, interval};
use weir_loadtest::{Call, Encoding, InputSpec, Payload, Plan, Process, Report, Run, Schedule};

use crate::{
    outcome::{Look, Outcome},
    served::{BATCH_ROWS, MODEL, Served, WIDTH},
};

/// How long the worker is kept full to find out how much it can do.
const SATURATION: Duration = Duration::from_secs(8);
/// Overload before anything is counted: memory grows to what it needs.
const SETTLE: Duration = Duration::from_secs(3);
/// Batches' worth of requests in flight while the worker is kept full: one runs, one waits, one travels.
const BATCHES_IN_FLIGHT: u32 = 3;
/// Most requests in flight under overload: far more than can wait until their deadline.
const CONNECTIONS: usize = 2048;
/// A request without an answer by then is lost.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at the worker.
const LOOK: Duration = Duration::from_millis(250);

/// Measures a worker under overload beside the simulation of it.
#[derive(Parser)]
struct Options {
    /// Time under overload, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// How long an answer is useful, in milliseconds
    #[arg(long, default_value_t = 50)]
    deadline: u32,
    /// Load, as a multiple of what the worker can do
    #[arg(long, default_value_t = 1.5)]
    load: f64,
    /// Rows a request: more, and a slow machine has fewer requests to make
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_ROWS)))]
    rows: u32,
    /// Seed of arrivals and tensors
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(measure(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-overload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found; whether every promise is kept.
async fn measure(options: &Options) -> Result<bool> {
    let served = Served::start().await?;
    let saturation = saturate(&served, options).await?;
    let rate = options.load * saturation.throughput;
    // This one counts for nothing: memory has not found its level yet.
    overload(&served, options, rate, SETTLE).await?;
    let (report, looks) =
        overload(&served, options, rate, Duration::from_secs(options.seconds.into())).await?;
    let outcome = Outcome { rows: options.rows, load: options.load, saturation, report, looks };
    outcome.print()
}

/// As much as the worker can do: always the same number of requests in flight, whatever is due beyond is not sent.
async fn saturate(served: &Served, options: &Options) -> Result<Report> {
    let cost = served.cost().await?;
    let batches = 1.0 / cost.of(BATCH_ROWS).as_secs_f64();
    let rate = 2.0 * batches * f64::from(BATCH_ROWS) / f64::from(options.rows);
    let connections = (BATCHES_IN_FLIGHT * BATCH_ROWS).div_ceil(options.rows);
    let mut plan = plan(served, options, rate, SATURATION)?;
    (plan.connections, plan.deadline) = (usize::try_from(connections)?, None);
    let report = Run::start(plan)?.finish().await;
    ensure!(report.ok > 0 && report.not_sent > 0, "the worker was not full:\n{report}");
    served.idle().await?;
    Ok(report)
}

/// More than the worker can do, and what it looks like meanwhile.
async fn overload(
    served: &Served,
    options: &Options,
    rate: f64,
    length: Duration,
) -> Result<(Report, Vec<Look>)> {
    let plan = plan(served, options, rate, length)?;
    let requests = plan.schedule.requests();
    let limit = Instant::now() + length + 2 * LIMIT;
    let run = Run::start(plan)?;
    let (mut looks, mut ticks) = (Vec::new(), interval(LOOK));
    while run.progress().finished < requests {
        ensure!(Instant::now() < limit, "requests do not end: {:?}", run.progress());
        ticks.tick().await;
        looks.push(Look { memory: served.memory()?, cost: served.cost().await? });
    }
    let report = run.finish().await;
    served.idle().await?;
    Ok((report, looks))
}

fn plan(served: &Served, options: &Options, rate: f64, length: Duration) -> Result<Plan> {
    let input: InputSpec = format!("x:FP32:{}x{WIDTH}", options.rows).parse()?;
    let call = Call::of(MODEL.parse().context("a model's name")?);
    Ok(Plan {
        target: served.address().into(),
        payload: Payload::random(call, &[input], Encoding::Binary, options.seed)?,
        schedule: Schedule::lasting(Process::Poisson, rate, length, options.seed)?,
        connections: CONNECTIONS,
        timeout: LIMIT,
        deadline: Some(Duration::from_millis(options.deadline.into())),
    })
}
