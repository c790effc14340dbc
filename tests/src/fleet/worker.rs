//! One worker of a fleet: its configuration, its process, its own address.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use crate::{Client, GrpcClient, eventually, metrics, place::binary, port, process::Process};

/// What a worker will be.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// Its name, at the gateway too.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the gateway finds it; another address than `listen` when something stands between.
    pub at: SocketAddr,
    /// Labels at the gateway, as TOML: `tier = "gpu"`.
    pub labels: String,
    /// Further lines of its `[[worker]]` at the gateway, such as `kind = "oip"`.
    pub registered: String,
    /// Its model repository; `None` = the fleet's.
    pub repository: Option<PathBuf>,
    /// Further lines of its own `[worker]`, such as `control = true`.
    pub worker_toml: String,
    /// Further TOML for its own configuration, such as a `[limits]` table.
    pub toml: String,
    /// Whether there is a process at all.
    pub started: bool,
}

impl WorkerSpec {
    /// A worker on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub fn named(name: &str) -> Result<Self> {
        let listen = port::free()?;
        Ok(Self {
            name: name.to_owned(),
            listen,
            at: listen,
            labels: String::new(),
            registered: String::new(),
            repository: None,
            worker_toml: String::new(),
            toml: String::new(),
            started: true,
        })
    }

    /// With labels at the gateway.
    #[must_use]
    pub fn labelled(self, labels: &str) -> Self {
        Self { labels: labels.to_owned(), ..self }
    }

    /// Registered at the gateway, but never started.
    #[must_use]
    pub fn absent(self) -> Self {
        Self { started: false, ..self }
    }

    /// A server of another kind at `address`, with further lines of its `[[worker]]`.
    ///
    /// # Errors
    /// No port is free.
    pub fn foreign(name: &str, address: SocketAddr, further: &str) -> Result<Self> {
        let registered = format!("kind = \"oip\"\n{further}");
        Ok(Self { at: address, registered, ..Self::named(name)?.absent() })
    }

    fn text(&self, repository: &Path) -> String {
        let Self { name, listen, worker_toml, toml, .. } = self;
        let repository = self.repository.as_deref().unwrap_or(repository).display();
        format!(
            "version = 1\n[worker]\nname = \"{name}\"\nlisten = \"{listen}\"\nrepository = \"{repository}\"\n\
             drain_timeout = \"20s\"\n{worker_toml}\n{toml}\n"
        )
    }
}

/// A worker's process.
#[derive(Debug)]
pub struct Worker {
    spec: WorkerSpec,
    config: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Worker {
    /// Writes the configuration into `folder` and starts the worker; `None` when the specification says not to.
    pub(super) fn start(spec: WorkerSpec, repository: &Path, folder: &Path) -> Result<Option<Self>> {
        if !spec.started {
            return Ok(None);
        }
        let config = folder.join(format!("{}.toml", spec.name));
        let log = folder.join(format!("{}.log", spec.name));
        fs::write(&config, spec.text(repository))?;
        let process = launch(&spec, &config, &log)?;
        Ok(Some(Self { spec, config, log, process }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// A client that asks this worker directly.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::of(self.spec.listen)
    }

    /// A gRPC client that asks this worker directly.
    ///
    /// # Errors
    /// None can be made.
    pub fn grpc(&self) -> Result<GrpcClient> {
        GrpcClient::of(self.spec.listen)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again after it has ended, with the same configuration and address.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(&self.spec, &self.config, &self.log)?;
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not within 30 seconds.
    pub async fn ready(&self) -> Result<()> {
        let client = self.client();
        eventually(&format!("worker {} ready", self.name()), async || {
            let reply = client.get("/v2/health/ready").await?;
            ensure!(reply.status == 200, "{reply}\n{}", self.process.log_tail());
            Ok(())
        })
        .await
    }

    /// Requests that it has accepted so far, over all models, from its own report.
    ///
    /// # Errors
    /// It gives no report.
    pub async fn arrivals(&self) -> Result<u64> {
        Ok(self.report().await?.models.iter().map(|replica| replica.arrivals).sum())
    }

    /// Requests that it has accepted and not answered, over all models, from its own report.
    ///
    /// # Errors
    /// It gives no report.
    pub async fn in_flight(&self) -> Result<u64> {
        Ok(self.report().await?.models.iter().map(|replica| replica.in_flight).sum())
    }

    /// Checks that nothing is in flight here, by its report and by its gauges.
    ///
    /// # Errors
    /// With what is.
    pub async fn idle(&self) -> Result<()> {
        let (in_flight, queued) = (self.in_flight().await?, self.queued().await?);
        ensure!(
            in_flight == 0 && queued == 0,
            "{}: {in_flight} in flight, {queued} rows queued",
            self.name()
        );
        let bodies = metrics::value(self.client(), "weir_worker_body_bytes", &[]).await?;
        ensure!(bodies == 0.0, "{}: {bodies} bytes of bodies", self.name());
        Ok(())
    }

    /// Rows that wait for a lane, over all models, from its own report.
    ///
    /// # Errors
    /// It gives no report.
    pub async fn queued(&self) -> Result<u64> {
        Ok(self.report().await?.models.iter().map(|replica| replica.queued).sum())
    }

    /// Its own report.
    ///
    /// # Errors
    /// It gives none.
    pub async fn report(&self) -> Result<weir_protocol::LoadReport> {
        Ok(serde_json::from_slice(&self.client().get("/v2/load").await?.body)?)
    }
}

fn launch(spec: &WorkerSpec, config: &Path, log: &Path) -> Result<Process> {
    let config = config.to_string_lossy();
    Process::start(&spec.name, &binary("weir-worker")?, &["--config", &config], log.to_owned())
}
