//! What a request costs at the gateway, beside nginx, Envoy and a bare pingora proxy, in one run.
//!
//! Every proxy runs with one thread in front of the same upstream, with keep-alive on both sides. CPU per request is
//! user plus system time of the proxy's process over a closed loop; added latency is measured at a fixed rate (half
//! of what the slowest proxy sustained) and compared with asking the upstream directly. Rounds interleave
//! the proxies, so that a noisy neighbour hits all of them; the table shows medians over the rounds.
//!
//! Run by `cargo xtask bench gateway`; needs `nginx` and `envoy` on PATH or in NGINX and ENVOY, and leaves out (saying so)
//! what is not there. The same executable plays the upstream and the bare proxy when started with a role.

mod client;
mod process;
mod proxies;
mod roles;

use std::{env, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{client::Load, proxies::Proxy};

/// As in the gateway's own binary, so that the bare proxy differs from it in nothing but the work it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds over all proxies; medians are reported.
const ROUNDS: usize = 5;
/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// How long one open-loop measurement lasts.
const LATENCY_TIME: Duration = Duration::from_secs(4);

/// One size of request body.
struct Size {
    name: &'static str,
    bytes: usize,
    /// Requests of one closed-loop round.
    requests: usize,
}

const SIZES: [Size; 2] = [
    Size { name: "1 KB", bytes: 1_000, requests: 40_000 },
    Size { name: "100 KB", bytes: 100_000, requests: 8_000 },
];

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["upstream", port] => roles::upstream(port.parse()?),
        ["bare-proxy", port, upstream] => roles::bare_proxy(port.parse()?, upstream.parse()?),
        [] => compare(),
        other => bail!("unknown arguments {other:?}: run it through `cargo xtask bench gateway`"),
    }
}

fn compare() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (upstream_port, _upstream) = proxies::start_upstream()?;
    let proxies = proxies::start_all(upstream_port, folder.path())?;
    println!(
        "proxy cost per request, one thread each, {CONNECTIONS} connections, medians of {ROUNDS} rounds\n"
    );
    for size in &SIZES {
        measure(size, upstream_port, &proxies).with_context(|| format!("body of {}", size.name))?;
    }
    Ok(())
}

#[derive(Default)]
struct Series {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure(size: &Size, upstream_port: u16, proxies: &[Proxy]) -> Result<()> {
    let mut series: Vec<Series> = proxies.iter().map(|_| Series::default()).collect();
    for round in 0..ROUNDS {
        for (proxy, series) in proxies.iter().zip(&mut series) {
            eprintln!("{}: round {} of {ROUNDS}, {}", size.name, round + 1, proxy.name);
            let load = Load::new(proxy.port, size.bytes);
            load.closed_loop(CONNECTIONS, size.requests / 10)?;
            let before = proxy.process.cpu()?;
            let elapsed = load.closed_loop(CONNECTIONS, size.requests)?;
            let cpu = proxy.process.cpu()? - before;
            series.cpu.push(cpu.as_secs_f64() * 100_000.0 / size.requests as f64);
            series.rate.push(size.requests as f64 / elapsed.as_secs_f64());
        }
    }
    let slowest = series.iter().map(|s| median(&s.rate)).fold(f64::INFINITY, f64::min);
    let rate = slowest / 2.0;
    let mut direct = Series::default();
    for round in 0..ROUNDS {
        eprintln!("{}: latency round {} of {ROUNDS} at {rate:.0}/s", size.name, round + 1);
        record(&mut direct, upstream_port, size, rate)?;
        for (proxy, series) in proxies.iter().zip(&mut series) {
            record(series, proxy.port, size, rate)?;
        }
    }
    print_table(size, rate, &direct, proxies, &series);
    Ok(())
}

fn record(series: &mut Series, port: u16, size: &Size, rate: f64) -> Result<()> {
    let (p50, p99) = Load::new(port, size.bytes).open_loop(rate, LATENCY_TIME)?;
    series.p50.push(p50);
    series.p99.push(p99);
    Ok(())
}

fn print_table(size: &Size, rate: f64, direct: &Series, proxies: &[Proxy], series: &[Series]) {
    println!(
        "| {} body | CPU s per 100k | ratio to bare pingora | requests/s | added p50 µs | added p99 µs |",
        size.name
    );
    println!("|---|---|---|---|---|---|");
    let bare = proxies.iter().zip(series).find(|(p, _)| p.name == proxies::BARE).map(|(_, s)| median(&s.cpu));
    for (proxy, series) in proxies.iter().zip(series) {
        let cpu = median(&series.cpu);
        let ratio = bare.map_or_else(|| "-".to_owned(), |bare| format!("{:.2}", cpu / bare));
        println!(
            "| {} | {cpu:.2} | {ratio} | {:.0} | {:.0} | {:.0} |",
            proxy.name,
            median(&series.rate),
            median(&series.p50) - median(&direct.p50),
            median(&series.p99) - median(&direct.p99),
        );
    }
    println!(
        "\nLatency at {rate:.0} requests/s; direct: p50 {:.0} µs, p99 {:.0} µs.\n",
        median(&direct.p50),
        median(&direct.p99)
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
