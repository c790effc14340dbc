//! A fleet: some workers and a gateway in front of them, in a folder of their own.

mod gateway;
mod worker;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use weir_protocol::LoadReport;

pub use self::{
    gateway::{Gateway, GatewayToml},
    worker::{Worker, WorkerSpec},
};
use crate::{Client, Repository, Synthetic, eventually, metrics};

/// What the gateway counts of requests that are not over.
const GAUGES: [&str; 2] = ["weir_gateway_in_flight_requests", "weir_gateway_open_requests"];

/// A running fleet. Dropping it ends every process, and prints the end of their logs when the test fails.
#[derive(Debug)]
pub struct Fleet {
    /// The gateway.
    pub gateway: Gateway,
    workers: Vec<Worker>,
    // Last: the processes write into it.
    _folder: TempDir,
}

/// What a fleet will be. Workers share one model repository unless they are given another.
#[derive(Debug)]
pub struct FleetBuilder {
    folder: TempDir,
    /// The shared model repository.
    pub repository: Repository,
    /// The gateway's configuration; its workers are added at the start.
    pub gateway: GatewayToml,
    workers: Vec<WorkerSpec>,
}

impl Fleet {
    /// A fleet without workers and models yet.
    ///
    /// # Errors
    /// No folder or port is to be had.
    pub fn builder() -> Result<FleetBuilder> {
        let folder = tempfile::tempdir()?;
        let repository = Repository::create(folder.path().join("models"))?;
        Ok(FleetBuilder { repository, gateway: GatewayToml::new()?, workers: Vec::new(), folder })
    }

    /// The running fleet that most tests need: workers of the given names with one synthetic model `m`.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn serving(model: &Synthetic, workers: &[&str]) -> Result<Self> {
        let mut builder = Self::builder()?;
        builder.repository.add("m", model)?;
        for name in workers {
            builder.worker(WorkerSpec::named(name)?);
        }
        builder.start().await
    }

    /// A client of the gateway.
    #[must_use]
    pub fn client(&self) -> Client {
        self.gateway.client()
    }

    /// A worker by name.
    ///
    /// # Errors
    /// There is none.
    pub fn worker(&mut self, name: &str) -> Result<&mut Worker> {
        self.workers
            .iter_mut()
            .find(|worker| worker.name() == name)
            .with_context(|| format!("no worker {name}"))
    }

    /// Waits until nothing is in flight: at the gateway, between it and its workers, and at those workers that run.
    ///
    /// # Errors
    /// Something still is after 30 seconds; the message says what.
    pub async fn idle(&mut self) -> Result<()> {
        let Self { gateway, workers, .. } = self;
        eventually("nothing in flight", async || {
            for gauge in GAUGES {
                let value = metrics::value(gateway.admin(), gauge, &[]).await?;
                ensure!(value == 0.0, "{gauge} {value}");
            }
            for worker in workers.iter_mut() {
                let view = gateway.admin().get(&format!("/v1/workers/{}", worker.name())).await?.json()?;
                let count = |field: &str| view.get(field).and_then(serde_json::Value::as_u64);
                ensure!(count("in_flight") == Some(0) && count("dispatching") == Some(0), "{view}");
                if worker.process().check_running().is_ok() {
                    worker.idle().await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits until the gateway calls every worker healthy and knows all that its workers say of themselves.
    ///
    /// # Errors
    /// It does not within 30 seconds, or a process has ended.
    pub async fn ready(&mut self) -> Result<()> {
        let Self { gateway, workers, .. } = self;
        eventually("the gateway to know every worker as it is", async || {
            gateway.process().check_running()?;
            let unhealthy = gateway.workers_not("healthy").await?;
            ensure!(unhealthy.is_empty(), "not yet: {unhealthy:?}");
            for worker in workers.iter_mut() {
                worker.process().check_running()?;
                let (known, own) = (gateway.report(worker.name()).await?, worker.report().await?);
                ensure!(known.epoch == own.epoch, "{} was known before its restart", worker.name());
                let states =
                    |report: &LoadReport| report.models.iter().map(|it| it.state).collect::<Vec<_>>();
                ensure!(states(&known) == states(&own), "models of {} have changed", worker.name());
            }
            Ok(())
        })
        .await
    }
}

impl FleetBuilder {
    /// Adds a worker.
    pub fn worker(&mut self, worker: WorkerSpec) {
        self.workers.push(worker);
    }

    /// Starts everything and waits until it serves.
    ///
    /// # Errors
    /// A binary is missing, a process ends, or the gateway does not call every worker healthy.
    pub async fn start(self) -> Result<Fleet> {
        let mut fleet = self.launch()?;
        for worker in &fleet.workers {
            worker.ready().await?;
        }
        fleet.gateway.ready().await?;
        fleet.ready().await?;
        Ok(fleet)
    }

    /// Starts everything and waits for nothing.
    ///
    /// # Errors
    /// A binary is missing or cannot be started.
    pub fn launch(self) -> Result<Fleet> {
        let Self { folder, repository, mut gateway, workers: specs } = self;
        let root = folder.path();
        let mut workers = Vec::new();
        for spec in specs {
            gateway.add(&spec);
            workers.extend(Worker::start(spec, repository.folder(), root)?);
        }
        let gateway = Gateway::start(gateway, root)?;
        Ok(Fleet { gateway, workers, _folder: folder })
    }
}

/// Writes a file by renaming over it, as editors do.
fn replace(path: &PathBuf, text: &str) -> Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, text)?;
    Ok(fs::rename(draft, path)?)
}
