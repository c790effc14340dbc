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

/// Requests of each side before anything is counted: libtorch is steady from its third pass on.
const SETTLE: u32 = 5;

/// Most that a request may take beside its forward pass: this long, and this share of the forward.
const PROMISE: (Duration, f64) = (Duration::from_micros(400), 0.05);

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
        "| model | bare p50 ms | through HTTP p50 ms | added ms | added share | bare mean ms | the worker's forward mean ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("{}", found.row());
    println!("{}", found.json());
    Ok(if found.keeps_promise() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(requests: u32) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let bare = Bare::load(&resnet::make(folder.path())?, &resnet::IMAGE)?;
    let served = Served::start(folder.path()).await.context("starting weir-worker")?;
    let request = request::one_row("x", &resnet::IMAGE)?;
    let mut client = Client::connect(served.address, resnet::NAME, &request).await?;
    for _ in 0..SETTLE {
        client.ask().await?;
        bare.pass()?;
    }
    // The sum of the worker's own forward passes in seconds, and their number.
    let forward = async || {
        let page = Page(served.get("/metrics").await?);
        let value = |name| page.value(name, resnet::NAME);
        anyhow::Ok((value("forward_seconds_sum")?, value("forward_seconds_count")?))
    };
    let before = forward().await?;
    let (mut alone, mut through) = (Vec::new(), Vec::new());
    for _ in 0..requests.div_ceil(TURN) {
        for _ in 0..TURN {
            let clock = Clock::start();
            client.ask().await?;
            through.push(clock.now());
        }
        for _ in 0..TURN {
            let clock = Clock::start();
            bare.pass()?;
            alone.push(clock.now());
        }
    }
    let after = forward().await?;
    let forward = Duration::from_secs_f64((after.0 - before.0) / (after.1 - before.1));
    Ok(Found {
        bare_mean: mean(&alone),
        bare: median(alone),
        through: median(through),
        forward_mean: forward,
    })
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap_or(u32::MAX).max(1)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

struct Found {
    /// Median of the bare forward.
    bare: Duration,
    /// Median through HTTP.
    through: Duration,
    /// Means of the forward pass, here and in the worker: what is not alike between them is not the worker's doing.
    bare_mean: Duration,
    forward_mean: Duration,
}

impl Found {
    fn added(&self) -> Duration {
        self.through.saturating_sub(self.bare)
    }

    fn share(&self) -> f64 {
        self.added().as_secs_f64() / self.bare.as_secs_f64()
    }

    fn keeps_promise(&self) -> bool {
        self.added() <= PROMISE.0 && self.share() <= PROMISE.1
    }

    fn row(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (bare, through, added) = (ms(self.bare), ms(self.through), ms(self.added()));
        let share = self.share() * 100.0;
        format!(
            "| {} | {bare:.3} | {through:.3} | {added:.3} | {share:.2} % | {:.3} | {:.3} |",
            resnet::NAME,
            ms(self.bare_mean),
            ms(self.forward_mean)
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "bench": "lone",
            "model": resnet::NAME,
            "bare_p50_ms": self.bare.as_secs_f64() * 1e3,
            "through_http_p50_ms": self.through.as_secs_f64() * 1e3,
            "bare_mean_ms": self.bare_mean.as_secs_f64() * 1e3,
            "worker_forward_mean_ms": self.forward_mean.as_secs_f64() * 1e3,
            "added_ms": self.added().as_secs_f64() * 1e3,
            "added_ratio": self.share(),
            "limit_ms": PROMISE.0.as_secs_f64() * 1e3,
            "limit_ratio": PROMISE.1,
            "ok": self.keeps_promise(),
        })
    }
}
