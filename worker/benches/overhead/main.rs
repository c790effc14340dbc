//! `cargo xtask bench overhead`: the worker's own time for a request, from its own histogram.
//!
//! One keep-alive client sends a binary tensor of 4 KiB at a modest rate to a model that does next to nothing, and gets
//! as much back: no core has other work, and nothing waits for anything but the request itself. The time is what the
//! worker says of it: from the last byte of a request to its answer, queue and forward pass excluded. Prints a table
//! for people and one JSON line per rate; the exit status is 1 when the median is above the promise.

#[path = "../support/client.rs"]
mod client;
mod distribution;
#[path = "../../examples/models/folder.rs"]
mod folder;
#[path = "../../examples/models/halve.rs"]
mod halve;
#[path = "../support/load.rs"]
mod load;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/request.rs"]
mod request;
#[path = "../support/served.rs"]
mod worker;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{distribution::Distribution, load::Load, page::Page, worker::Served};

/// Requests before anything is counted.
const SETTLE: Duration = Duration::from_secs(1);

/// Largest median that the worker promises, in seconds.
const PROMISE: f64 = 40e-6;

/// Measures the worker's own time for a request.
#[derive(Parser)]
struct Options {
    /// Requests per second; 0 = each as soon as the one before it is answered. Repeat for several runs
    #[arg(long, default_values_t = [500, 0])]
    rate: Vec<u32>,
    /// Time of each run, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    halve::make(folder.path())?;
    let found = runtime.block_on(measure(&options, folder.path()))?;
    println!("| requests/s | requests | overhead p50 us | p90 us | p99 us | mean us | queue p50 us |");
    println!("|---|---|---|---|---|---|---|");
    found.iter().for_each(|one| println!("{}", one.row()));
    found.iter().for_each(|one| println!("{}", one.json()));
    let kept = found.iter().all(Found::keeps_promise);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found at one rate.
struct Found {
    rate: u32,
    overhead: Distribution,
    queue: Distribution,
}

async fn measure(options: &Options, repository: &Path) -> Result<Vec<Found>> {
    let served = Served::start(repository).await.context("starting weir-worker")?;
    let page = async || anyhow::Ok(Page(served.get("/metrics").await?));
    let (request, mut found) = (request::one_row("x", &[halve::WIDTH])?, Vec::new());
    for &rate in &options.rate {
        let gap = (rate > 0).then(|| Duration::from_secs(1) / rate.max(1));
        let load = Load::start(served.address, halve::NAME, &request, 1, gap).await?;
        tokio::time::sleep(SETTLE).await;
        let before = (page().await?, load.answered());
        tokio::time::sleep(Duration::from_secs(options.seconds.into())).await;
        let after = (page().await?, load.answered());
        load.stop().await?;
        let between = |name| Distribution::between(&before.0, &after.0, name, halve::NAME);
        let (overhead, queue) = (between("overhead_seconds")?, between("queue_seconds")?);
        let answered = f64::from(u32::try_from(after.1 - before.1)?);
        // The page and the client's count are read one after the other: a few requests may fall between.
        let strangers = (overhead.count() - answered).abs();
        ensure!(strangers <= 10.0, "the worker counted {}, its client {answered}", overhead.count());
        found.push(Found { rate, overhead, queue });
    }
    Ok(found)
}

impl Found {
    /// One request after another is shown beside it: then no core is idle.
    fn keeps_promise(&self) -> bool {
        self.rate == 0 || self.overhead.quantile(0.5) <= PROMISE
    }

    fn row(&self) -> String {
        let us = |share| self.overhead.quantile(share) * 1e6;
        let rate = if self.rate == 0 { "one after another".to_owned() } else { self.rate.to_string() };
        format!(
            "| {rate} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            self.overhead.count(),
            us(0.5),
            us(0.9),
            us(0.99),
            self.overhead.mean() * 1e6,
            self.queue.quantile(0.5) * 1e6,
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "bench": "overhead",
            "rate": self.rate,
            "requests": self.overhead.count(),
            "overhead_p50_us": self.overhead.quantile(0.5) * 1e6,
            "overhead_p90_us": self.overhead.quantile(0.9) * 1e6,
            "overhead_p99_us": self.overhead.quantile(0.99) * 1e6,
            "overhead_mean_us": self.overhead.mean() * 1e6,
            "queue_p50_us": self.queue.quantile(0.5) * 1e6,
            "limit_us": PROMISE * 1e6,
            "ok": self.keeps_promise(),
        })
    }
}
