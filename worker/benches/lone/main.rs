//! `cargo xtask bench lone`: what a request that is alone waits for beside its own forward pass.
//!
//! A ResNet-18, one keep-alive client, `max_queue_delay` 0: through HTTP to the real binary, and the bare forward of one
//! row in this process, in turns. Prints the medians and their difference: a table for people and one JSON line; the
//! exit status is 1 when the difference is above the promise.

mod bare;
#[path = "../support/client.rs"]
mod client;
#[path = "../../examples/models/folder.rs"]
mod folder;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/request.rs"]
mod request;
#[path = "../../examples/models/resnet.rs"]
mod resnet;
#[path = "../../examples/models/weights.rs"]
mod weights;
#[path = "../support/served.rs"]
mod worker;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use weir_worker::clock::Clock;

use crate::{bare::Bare, client::Client, page::Page, worker::Served};

/// Requests of a turn. Short turns: a machine that has other work changes its pace within seconds.
const TURN: u32 = 5;

/// Workers and bare modules that are started anew, one pair after another: where a process's memory happens to lie makes
/// the same pass up to 3 % faster or slower for as long as the process lives.
const PAIRS: u32 = 6;

/// Requests of each side before anything is counted: libtorch is steady from its third pass on.
const SETTLE: u32 = 5;

/// Most that a request may take beside its forward pass: this long, and this share of the forward.
const PROMISE: (Duration, f64) = (Duration::from_micros(400), 0.05);

/// The decile that the promise is about.
const MEDIAN: usize = 5;

/// Measures a lone request beside the bare forward pass.
#[derive(Parser)]
struct Options {
    /// Requests of each side
    #[arg(long, default_value_t = 300)]
    requests: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    // As the worker does, or the bare forward would pay for page faults that the worker does not have.
    let _ = weir_worker::device::tune_malloc();
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(measure(options.requests))?;
    println!(
        "| model | bare p50 ms | through HTTP p50 ms | added ms | added share | added at p10 ms | bare mean ms \
         | the worker's forward mean ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!("{}", found.row());
    println!("{}", found.json());
    Ok(if found.keeps_promise() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(requests: u32) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let file = resnet::make(folder.path())?;
    let request = request::one_row("x", &resnet::IMAGE)?;
    let mut found = Found::default();
    for _ in 0..PAIRS {
        let bare = Bare::load(&file, &resnet::IMAGE)?;
        let served = Served::start(folder.path()).await.context("starting weir-worker")?;
        let client = Client::connect(served.address, resnet::NAME, &request).await?;
        found.pair(&bare, &served, client, requests / PAIRS).await?;
    }
    found.alone.sort_unstable();
    found.through.sort_unstable();
    Ok(found)
}

/// The sum of the worker's own forward passes in seconds, and their number.
async fn forward(served: &Served) -> Result<(f64, f64)> {
    let page = Page(served.get("/metrics").await?);
    let value = |name| page.value(name, resnet::NAME);
    Ok((value("forward_seconds_sum")?, value("forward_seconds_count")?))
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap_or(u32::MAX).max(1)
}

/// A decile of sorted times.
fn decile(times: &[Duration], tenths: usize) -> Duration {
    times.get(times.len() * tenths / 10).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[derive(Default)]
struct Found {
    /// Times of the bare forward, sorted.
    alone: Vec<Duration>,
    /// Times through HTTP, sorted.
    through: Vec<Duration>,
    /// Sum of the worker's own forward passes in seconds, and their number: what is not alike between them and the bare
    /// ones is the machine's.
    forward: (f64, f64),
}

impl Found {
    /// Adds what one worker and one bare module take, in turns.
    async fn pair(&mut self, bare: &Bare, served: &Served, mut client: Client, requests: u32) -> Result<()> {
        for _ in 0..SETTLE {
            client.ask().await?;
            bare.pass()?;
        }
        let before = forward(served).await?;
        for _ in 0..requests.div_ceil(TURN) {
            for _ in 0..TURN {
                let clock = Clock::start();
                client.ask().await?;
                self.through.push(clock.now());
            }
            for _ in 0..TURN {
                let clock = Clock::start();
                bare.pass()?;
                self.alone.push(clock.now());
            }
        }
        let after = forward(served).await?;
        self.forward.0 += after.0 - before.0;
        self.forward.1 += after.1 - before.1;
        Ok(())
    }

    /// Mean of the worker's own forward passes.
    fn forward(&self) -> Duration {
        Duration::from_secs_f64(self.forward.0 / self.forward.1.max(1.0))
    }

    /// What HTTP and the worker add, at a decile.
    fn added(&self, tenths: usize) -> Duration {
        decile(&self.through, tenths).saturating_sub(decile(&self.alone, tenths))
    }

    /// The same as a share of the bare forward.
    fn share(&self, tenths: usize) -> f64 {
        self.added(tenths).as_secs_f64() / decile(&self.alone, tenths).as_secs_f64()
    }

    fn keeps_promise(&self) -> bool {
        self.added(MEDIAN) <= PROMISE.0 && self.share(MEDIAN) <= PROMISE.1
    }

    fn row(&self) -> String {
        format!(
            "| {} | {:.3} | {:.3} | {:.3} | {:.2} % | {:.3} | {:.3} | {:.3} |",
            resnet::NAME,
            ms(decile(&self.alone, MEDIAN)),
            ms(decile(&self.through, MEDIAN)),
            ms(self.added(MEDIAN)),
            self.share(MEDIAN) * 100.0,
            ms(self.added(1)),
            ms(mean(&self.alone)),
            ms(self.forward()),
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "bench": "lone",
            "model": resnet::NAME,
            "bare_p50_ms": ms(decile(&self.alone, MEDIAN)),
            "through_http_p50_ms": ms(decile(&self.through, MEDIAN)),
            "added_ms": ms(self.added(MEDIAN)),
            "added_ratio": self.share(MEDIAN),
            "added_p10_ms": ms(self.added(1)),
            "bare_mean_ms": ms(mean(&self.alone)),
            "worker_forward_mean_ms": ms(self.forward()),
            "limit_ms": ms(PROMISE.0),
            "limit_ratio": PROMISE.1,
            "ok": self.keeps_promise(),
        })
    }
}
