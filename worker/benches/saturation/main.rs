//! `cargo xtask bench worker`: what the worker adds to libtorch.
//!
//! Starts the real binary on loopback, keeps its one lane full over keep-alive connections, and measures the bare
//! forward pass at the same batch size, in turns. Prints medians: a table for people and one JSON line per model. The exit
//! status is 1 when a model whose batches are long enough for the promise falls short of it.

mod bare;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/cpu.rs"]
mod cpu;
#[path = "../../examples/models/folder.rs"]
mod folder;
#[path = "../support/load.rs"]
mod load;
#[path = "../../examples/models/mlp.rs"]
mod mlp;
mod models;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/request.rs"]
mod request;
mod watch;
#[path = "../../examples/models/weights.rs"]
mod weights;
#[path = "../support/served.rs"]
mod worker;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use weir_worker::clock::Clock;

use crate::{
    bare::{Bare, Pace},
    load::Load,
    models::Model,
    watch::{Watch, Window},
    worker::Served,
};

/// Connections at saturation: three times the batch, so that a full batch waits while one runs and one travels.
const CONNECTIONS: usize = 96;

/// Turns of served and bare: a machine that has other work changes its pace within seconds.
const ROUNDS: u32 = 6;

/// Time before a window during which nothing is counted.
const SETTLE: Duration = Duration::from_secs(1);

/// What is promised for models whose forward pass takes at least this many seconds.
const LONG: f64 = 5e-3;

/// Least share of the time that a lane is busy, and least share of the bare forward's rows per second.
const PROMISE: f64 = 0.95;

/// Measures the worker at saturation beside the bare libtorch forward.
#[derive(Parser)]
struct Options {
    /// Time at saturation per model, in seconds; the bare forward gets as much again
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    // As the worker does, or the bare forward would pay for page faults that the worker does not have.
    let _ = weir_worker::device::tune_malloc();
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let window = Duration::from_secs(options.seconds.into()) / ROUNDS;
    let mut found = Vec::new();
    for model in models::all(folder.path())? {
        found.push(runtime.block_on(measure(&model, window))?);
    }
    print_table(&found);
    for one in &found {
        println!("{}", one.json());
    }
    let kept = found.iter().all(|one| one.figures().keeps_promise());
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found for one model.
struct Found {
    model: &'static str,
    /// The worker at saturation, and the bare forward at its mean batch size right after.
    rounds: Vec<(Window, Pace)>,
}

async fn measure(model: &Model, length: Duration) -> Result<Found> {
    let served = Served::start(&model.repository).await.context("starting weir-worker")?;
    let watch = Watch { served: &served, clock: Clock::start() };
    let (input, row) = model.input;
    let (bare, request) = (Bare::load(model, length)?, request::one_row(input, row)?);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let load = Load::start(served.address, model.name, &request, CONNECTIONS, None).await?;
        tokio::time::sleep(SETTLE).await;
        let window = watch.window(model, &load, length).await?;
        load.stop().await?;
        let pace = bare.pace(window.batch_rows())?;
        rounds.push((window, pace));
    }
    Ok(Found { model: model.name, rounds })
}

impl Found {
    /// The median over the rounds.
    fn median(&self, of: impl Fn(&Window, &Pace) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(|(window, pace)| of(window, pace)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let around = [values.get(middle.saturating_sub(1)), values.get(middle)];
        around.into_iter().flatten().sum::<f64>() / 2.0
    }

    fn figures(&self) -> Figures {
        Figures {
            batch_rows: self.median(|window, _| window.batch_rows()),
            forward_ms: self.median(|window, _| window.forward_seconds()) * 1e3,
            served: self.median(|window, _| window.rows_per_second()),
            bare: self.median(|_, pace| pace.per_second),
            ratio: self.median(|window, pace| window.rows_per_second() / pace.per_second),
            cpu_ratio: self.median(|window, pace| window.rows_per_lane_cpu_second() / pace.per_cpu_second),
            lane_busy: self.median(|window, _| window.lane_busy_ratio()),
            cpu_outside_forward: self.median(|window, _| window.cpu_outside_forward()),
        }
    }

    fn json(&self) -> serde_json::Value {
        let figures = self.figures();
        serde_json::json!({
            "bench": "worker",
            "model": self.model,
            "batch_rows": figures.batch_rows,
            "forward_ms": figures.forward_ms,
            "served_rows_per_second": figures.served,
            "bare_rows_per_second": figures.bare,
            "served_over_bare_ratio": figures.ratio,
            "served_over_bare_cpu_ratio": figures.cpu_ratio,
            "lane_busy_ratio": figures.lane_busy,
            "cpu_seconds_per_100k_outside_forward": figures.cpu_outside_forward,
            "limit": PROMISE,
            "ok": figures.keeps_promise(),
        })
    }
}

/// Medians over the rounds.
struct Figures {
    batch_rows: f64,
    forward_ms: f64,
    served: f64,
    bare: f64,
    ratio: f64,
    /// As `ratio`, by CPU time of the thread that runs the forward: what it would be with a core to itself.
    cpu_ratio: f64,
    lane_busy: f64,
    cpu_outside_forward: f64,
}

impl Figures {
    fn keeps_promise(&self) -> bool {
        self.forward_ms < LONG * 1e3 || (self.ratio >= PROMISE && self.lane_busy >= PROMISE)
    }
}

fn print_table(found: &[Found]) {
    println!(
        "| model | batch | forward ms | served rows/s | bare rows/s | served/bare | by CPU time | lane busy \
         | CPU s/100k requests outside forward |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for one in found {
        let figures = one.figures();
        println!(
            "| {} | {:.1} | {:.3} | {:.0} | {:.0} | {:.3} | {:.3} | {:.1} % | {:.2} |",
            one.model,
            figures.batch_rows,
            figures.forward_ms,
            figures.served,
            figures.bare,
            figures.ratio,
            figures.cpu_ratio,
            figures.lane_busy * 100.0,
            figures.cpu_outside_forward,
        );
    }
}
