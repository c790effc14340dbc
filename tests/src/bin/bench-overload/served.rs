//! The worker that is measured: one lane, one model, asked directly.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use weir_loadtest::simulate::batching::BatchCost;
use weir_protocol::{LoadReport, load::Estimate};
use weir_tests::{Client, eventually, place::binary, port, process::Process};

/// The model: an MLP 1024-2048-2048-1000.
pub(crate) const MODEL: &str = "mlp";
/// Values of its input row.
pub(crate) const WIDTH: u32 = 1024;
/// Its largest batch.
pub(crate) const BATCH_ROWS: u32 = 32;

/// A running worker. Killed on drop.
pub(crate) struct Served {
    process: Process,
    client: Client,
    // Last: the process writes into it.
    _folder: TempDir,
}

impl Served {
    /// Makes the model, starts the worker and waits until it serves.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let repository = folder.path().join("models");
        let made = Command::new(binary("examples/models")?)
            .arg(MODEL)
            .arg(&repository)
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "making the model: {made}");
        let listen = port::free()?;
        let process = launch(folder.path(), &repository, listen)?;
        let served = Self { process, client: Client::of(listen), _folder: folder };
        eventually("the worker to be ready", async || {
            let reply = served.client.get("/v2/health/ready").await?;
            ensure!(reply.status == 200, "{reply}\n{}", served.process.log_tail());
            Ok(())
        })
        .await?;
        Ok(served)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.client.address()
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        Ok(self.process.memory()?.resident)
    }

    /// What a batch costs now, as the worker itself says.
    pub(crate) async fn cost(&self) -> Result<BatchCost> {
        let report = self.report().await?;
        let estimate = report.models.into_iter().find_map(|model| model.estimate);
        cost(&estimate.context("the worker says nothing of its costs")?)
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn idle(&self) -> Result<()> {
        eventually("nothing in flight", async || {
            let in_flight: u64 = self.report().await?.models.iter().map(|model| model.in_flight).sum();
            ensure!(in_flight == 0, "{in_flight} in flight");
            Ok(())
        })
        .await
    }

    async fn report(&self) -> Result<LoadReport> {
        Ok(serde_json::from_slice(&self.client.get("/v2/load").await?.body)?)
    }
}

/// The fitted line, scaled as batches take of late.
fn cost(estimate: &Estimate) -> Result<BatchCost> {
    let line = estimate.latency.first().context("the worker has measured no batch")?;
    let scale = f64::from(estimate.scale_milli) / 1e3;
    Ok(BatchCost {
        base: Duration::from_micros(line.base_us).mul_f64(scale),
        per_unit: Duration::from_nanos(line.per_unit_ns).mul_f64(scale),
    })
}

fn launch(folder: &Path, repository: &Path, listen: SocketAddr) -> Result<Process> {
    let (config, log) = (folder.join("worker.toml"), folder.join("worker.log"));
    let text = format!(
        "version = 1\n[worker]\nname = \"bench\"\nlisten = \"{listen}\"\nthreads = 1\nrepository = \"{}\"\n\
         [cpu]\nlanes = 1\n",
        repository.display()
    );
    fs::write(&config, text)?;
    Process::start("worker", &binary("weir-worker")?, &["--config", &config.to_string_lossy()], log)
}
