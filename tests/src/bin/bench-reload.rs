//! `bench-reload`: how long it takes from writing the configuration file until the change is live.
//!
//! Live is what a client sees: a `[[route]]` for a model name that nobody has appears in the file and goes again, and
//! the clock stops at the first answer that shows it. Run by `cargo xtask bench reload`; needs release binaries in
//! `WEIR_BIN_DIR` or beside it.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};
use weir_tests::{Fleet, GatewayToml, Synthetic, infer};

/// Measured writes, half of them appearances of the route.
const RELOADS: usize = 100;
/// A change that is not live after this is lost.
const LIMIT: Duration = Duration::from_secs(10);
/// What is promised.
const PROMISE: Duration = Duration::from_millis(100);
/// The name that exists while the route does.
const NAME: &str = "appears";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(measure())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-reload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the distribution; whether all of it is within the promise.
async fn measure() -> Result<bool> {
    let mut fleet =
        Fleet::serving(&Synthetic { base: Duration::ZERO, ..Synthetic::default() }, &["a"]).await?;
    let without = fleet.gateway.toml().clone();
    let route = format!("[[route]]\nmatch = {{ model = \"{NAME}\" }}\nto = {{ model = \"m\" }}\n");
    let with = GatewayToml { rules: route, ..without.clone() };
    let mut prober = Prober::connect(&fleet).await?;
    let mut times = Vec::with_capacity(RELOADS);
    for number in 0..RELOADS {
        let (toml, status) = if number % 2 == 0 { (&with, 200) } else { (&without, 404) };
        let written = Instant::now();
        fleet.gateway.write(toml.clone())?;
        prober.until(status, written).await?;
        times.push(written.elapsed());
    }
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("reload: writes={RELOADS} p50_ms={p50:.1} p90_ms={p90:.1} p99_ms={p99:.1} max_ms={max:.1}");
    Ok(Duration::from_secs_f64(max / 1e3) <= PROMISE)
}

/// Asks for the model again and again over one connection.
struct Prober {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    body: Bytes,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Prober {
    async fn connect(fleet: &Fleet) -> Result<Self> {
        let address = fleet.client().address();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let body = infer::rows(1, 4).to_string().into();
        Ok(Self { sender, host: address.to_string(), body, _driver: driver })
    }

    async fn until(&mut self, status: u16, written: Instant) -> Result<()> {
        while self.status().await? != status {
            ensure!(written.elapsed() < LIMIT, "status {status} does not show within {} s", LIMIT.as_secs());
        }
        Ok(())
    }

    async fn status(&mut self) -> Result<u16> {
        self.sender.ready().await.context("the gateway closed the connection")?;
        let request = Request::post(infer::path(NAME)).header(header::HOST, &self.host);
        let response = self.sender.send_request(request.body(Full::new(self.body.clone()))?).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        Ok(status)
    }
}
