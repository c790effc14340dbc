//! `cargo xtask bench worker`: what the worker adds to libtorch.
//!
//! Starts the real binary on loopback, keeps its one lane full over keep-alive connections, and measures the bare
//! forward pass at the same batch size in the same run, before and after. Prints a table for people and one JSON line
//! per model.

mod bare;
mod load;
mod models;
mod served;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{
    bare::Pace,
    models::Model,
    served::{Served, Window},
};

/// Connections at saturation: three times the batch, so that a full batch waits while one runs and one travels.
const CONNECTIONS: usize = 96;

/// Time before a window during which nothing is counted.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures the worker at saturation beside the bare libtorch forward.
#[derive(Parser)]
struct Options {
    /// Length of each saturated window, in seconds
    #[arg(long, default_value_t = 15)]
    seconds: u64,
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
    let mut rows = Vec::new();
    for model in models::all(folder.path())? {
        rows.push(runtime.block_on(measure(&model, Duration::from_secs(options.seconds)))?);
    }
    print_table(&rows);
    for row in &rows {
        println!("{}", row.json());
    }
    Ok(ExitCode::SUCCESS)
}

/// What was found for one model.
struct Row {
    model: &'static str,
    saturated: Window,
    /// The bare forward at the mean batch size.
    bare: Pace,
    /// Mean of the worker's own time per request with a single client.
    overhead: Duration,
}

async fn measure(model: &Model, window: Duration) -> Result<Row> {
    let served = Served::start(&binary()?, &model.repository).await.context("starting weir-worker")?;
    let one = load::Load::start(served.address, model, 1).await?;
    let alone = served.window(model, &one, SETTLE).await?;
    one.stop().await?;
    let bare = bare::Bare::load(model)?;
    let load = load::Load::start(served.address, model, CONNECTIONS).await?;
    tokio::time::sleep(SETTLE).await;
    let saturated = served.window(model, &load, window).await?;
    load.stop().await?;
    drop(served);
    let bare = bare.pace(saturated.batch_rows())?;
    Ok(Row { model: model.name, saturated, bare, overhead: alone.overhead() })
}

/// The worker to measure: `WEIR_BIN_DIR` if it is set, else the one that cargo built beside this.
fn binary() -> Result<PathBuf> {
    let built = || option_env!("CARGO_BIN_EXE_weir-worker").map(PathBuf::from);
    let given = std::env::var_os("WEIR_BIN_DIR").map(|folder| PathBuf::from(folder).join("weir-worker"));
    given.or_else(built).context("set WEIR_BIN_DIR to the folder of weir-worker")
}

impl Row {
    fn ratio(&self) -> f64 {
        self.saturated.rows_per_second() / self.bare.per_second
    }

    /// As [`Self::ratio`], by CPU time of the thread that runs the forward: what it would be with a core to itself.
    fn cpu_ratio(&self) -> f64 {
        self.saturated.rows_per_lane_cpu_second() / self.bare.per_cpu_second
    }

    fn json(&self) -> serde_json::Value {
        let window = &self.saturated;
        serde_json::json!({
            "bench": "worker",
            "model": self.model,
            "requests_per_second": window.rows_per_second(),
            "bare_rows_per_second": self.bare.per_second,
            "served_over_bare_ratio": self.ratio(),
            "served_over_bare_cpu_ratio": self.cpu_ratio(),
            "batch_rows": window.batch_rows(),
            "forward_seconds": window.forward_seconds(),
            "lane_busy_ratio": window.lane_busy_ratio(),
            "forward_ratio": window.forward_ratio(),
            "cpu_seconds_per_100k_outside_forward": window.cpu_outside_forward(),
            "overhead_us_one_client": self.overhead.as_secs_f64() * 1e6,
        })
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "| model | batch | forward ms | served rows/s | bare rows/s | served/bare | by CPU time | lane busy | CPU s/100k requests outside forward | overhead us, one client |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let window = &row.saturated;
        println!(
            "| {} | {:.1} | {:.3} | {:.0} | {:.0} | {:.3} | {:.3} | {:.1} % | {:.2} | {:.0} |",
            row.model,
            window.batch_rows(),
            window.forward_seconds() * 1e3,
            window.rows_per_second(),
            row.bare.per_second,
            row.ratio(),
            row.cpu_ratio(),
            window.lane_busy_ratio() * 100.0,
            window.cpu_outside_forward(),
            row.overhead.as_secs_f64() * 1e6,
        );
    }
}
