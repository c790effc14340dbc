//! `cargo xtask bench encodings`: what JSON costs at the worker beside binary tensors.
//!
//! Starts the real binary on loopback and sends it the same image of 3x64x64 FP32 in both encodings, in turns, over
//! keep-alive connections. Compares the CPU time of the worker's process per request: wall times of a machine that has
//! other work say little. Prints medians: a table for people and one JSON line per model.

#[path = "../support/client.rs"]
mod client;
#[path = "../support/cpu.rs"]
mod cpu;
#[path = "../support/load.rs"]
mod load;
mod models;
#[path = "../support/served.rs"]
mod worker;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{load::Load, models::Model, worker::Served};

/// Connections of a round: enough that the worker never waits for the client.
const CONNECTIONS: usize = 4;

/// Rounds of each encoding, in turns.
const ROUNDS: u32 = 6;

/// Time before a round during which nothing is counted.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures the worker's CPU time for a JSON request beside the same one in binary form.
#[derive(Parser)]
struct Options {
    /// Time per model and encoding, in seconds
    #[arg(long, default_value_t = 18)]
    seconds: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let models = models::all(folder.path())?;
    let length = Duration::from_secs(options.seconds.into()) / ROUNDS;
    let found = runtime.block_on(async {
        let served = Served::start(folder.path()).await.context("starting weir-worker")?;
        let mut found = Vec::new();
        for model in &models {
            found.push(measure(&served, model, length).await?);
        }
        anyhow::Ok(found)
    })?;
    print_table(&found);
    for one in &found {
        println!("{}", one.json());
    }
    Ok(ExitCode::SUCCESS)
}

/// CPU time of the worker for one request, in microseconds.
struct Cost {
    /// Everything.
    whole: f64,
    /// The thread that runs the model.
    lane: f64,
}

/// What was found for one model.
struct Found {
    model: &'static str,
    /// Each round's costs: JSON, then binary.
    rounds: Vec<(Cost, Cost)>,
}

async fn measure(served: &Served, model: &Model, length: Duration) -> Result<Found> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let json = cost(served, model, false, length).await?;
        rounds.push((json, cost(served, model, true, length).await?));
    }
    Ok(Found { model: model.name, rounds })
}

async fn cost(served: &Served, model: &Model, binary: bool, length: Duration) -> Result<Cost> {
    let load = Load::start(served.address, model.name, &models::request(binary)?, CONNECTIONS, None).await?;
    tokio::time::sleep(SETTLE).await;
    let sample = || {
        anyhow::Ok((load.answered(), cpu::of_process(served.child.id())?, cpu::of_lanes(served.child.id())?))
    };
    let (first, whole, lane) = sample()?;
    tokio::time::sleep(length).await;
    let (last, whole_after, lane_after) = sample()?;
    load.stop().await?;
    let requests = f64::from(u32::try_from(last - first)?);
    let each = |seconds: f64| seconds / requests * 1e6;
    Ok(Cost { whole: each(whole_after - whole), lane: each(lane_after - lane) })
}

impl Found {
    /// The median over the rounds.
    fn median(&self, of: impl Fn(&Cost, &Cost) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(|(json, binary)| of(json, binary)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let around = [values.get(middle.saturating_sub(1)), values.get(middle)];
        around.into_iter().flatten().sum::<f64>() / 2.0
    }

    /// JSON, binary, their ratio, and the lane's share of each.
    fn figures(&self) -> [f64; 5] {
        [
            self.median(|json, _| json.whole),
            self.median(|_, binary| binary.whole),
            self.median(|json, binary| json.whole / binary.whole),
            self.median(|json, _| json.lane),
            self.median(|_, binary| binary.lane),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let [json, binary, ratio, json_lane, binary_lane] = self.figures();
        serde_json::json!({
            "bench": "encodings",
            "model": self.model,
            "json_cpu_us": json,
            "binary_cpu_us": binary,
            "json_over_binary_ratio": ratio,
            "json_lane_cpu_us": json_lane,
            "binary_lane_cpu_us": binary_lane,
        })
    }
}

fn print_table(found: &[Found]) {
    println!(
        "| model, 3x64x64 FP32 in | JSON: CPU us a request | binary: CPU us a request | JSON/binary \
         | of it the lane: JSON | binary |"
    );
    println!("|---|---|---|---|---|---|");
    for one in found {
        let [json, binary, ratio, json_lane, binary_lane] = one.figures();
        println!(
            "| {} | {json:.0} | {binary:.0} | {ratio:.2} | {json_lane:.0} | {binary_lane:.0} |",
            one.model
        );
    }
}
