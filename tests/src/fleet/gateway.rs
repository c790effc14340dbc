//! The gateway of a fleet: its configuration file, its process, its admin listener.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use weir_protocol::LoadReport;

use super::{WorkerSpec, replace};
use crate::{Client, GrpcClient, Reply, eventually, place::binary, port, process::Process};

/// A `gateway.toml` in parts. Each field holds lines of TOML.
#[derive(Debug, Clone)]
pub struct GatewayToml {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The operator's listener.
    pub admin: SocketAddr,
    /// Further lines of `[gateway]`.
    pub gateway: String,
    /// `[limits]`
    pub limits: String,
    /// `[timeouts]`
    pub timeouts: String,
    /// `[health]`; by default probes are frequent, so that tests are quick, and patient as connects are, because a
    /// machine under load is no worker's fault: one that is gone refuses at once.
    pub health: String,
    /// `[[worker]]` tables.
    pub workers: String,
    /// `[[route]]` and `[[model]]` tables.
    pub rules: String,
}

impl GatewayToml {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            listen: port::free()?,
            admin: port::free()?,
            gateway: "threads = 1\ndrain_delay = \"200ms\"\ndrain_timeout = \"20s\"".to_owned(),
            limits: String::new(),
            timeouts: "connect = \"10s\"".to_owned(),
            health: "interval = \"50ms\"\ntimeout = \"10s\"".to_owned(),
            workers: String::new(),
            rules: String::new(),
        })
    }

    pub(super) fn add(&mut self, worker: &WorkerSpec) {
        let WorkerSpec { name, at, labels, registered, .. } = worker;
        self.workers += &format!(
            "[[worker]]\nname = \"{name}\"\nurl = \"http://{at}\"\nlabels = {{ {labels} }}\n{registered}\n"
        );
    }
}

impl fmt::Display for GatewayToml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, admin, gateway, limits, timeouts, health, workers, rules } = self;
        write!(
            f,
            "version = 1\n[gateway]\nlisten = [\"{listen}\"]\n{gateway}\n[admin]\nlisten = \"{admin}\"\n\
             [limits]\n{limits}\n[timeouts]\n{timeouts}\n[health]\n{health}\n{workers}\n{rules}\n"
        )
    }
}

/// The gateway's process.
#[derive(Debug)]
pub struct Gateway {
    toml: GatewayToml,
    file: PathBuf,
    process: Process,
}

impl Gateway {
    pub(super) fn start(toml: GatewayToml, folder: &Path) -> Result<Self> {
        let file = folder.join("gateway.toml");
        fs::write(&file, toml.to_string())?;
        let arguments = ["--config", &file.to_string_lossy()];
        let process =
            Process::start("gateway", &binary("weir-gateway")?, &arguments, folder.join("gateway.log"))?;
        Ok(Self { toml, file, process })
    }

    /// A client of the address that clients use.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::of(self.toml.listen)
    }

    /// A gRPC client of the same address.
    ///
    /// # Errors
    /// None can be made.
    pub fn grpc(&self) -> Result<GrpcClient> {
        GrpcClient::of(self.toml.listen)
    }

    /// A client of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::of(self.toml.admin)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The configuration that was written last through this harness.
    #[must_use]
    pub fn toml(&self) -> &GatewayToml {
        &self.toml
    }

    /// Replaces the configuration file by renaming over it. The gateway notices by itself.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, toml: GatewayToml) -> Result<()> {
        self.write_text(&toml.to_string())?;
        self.toml = toml;
        Ok(())
    }

    /// Replaces the configuration file with any text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_text(&self, text: &str) -> Result<()> {
        replace(&self.file, text)
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not within 30 seconds.
    pub async fn ready(&mut self) -> Result<()> {
        let admin = self.admin();
        eventually("gateway ready", async || {
            self.process.check_running()?;
            let reply = admin.get("/readyz").await?;
            ensure!(reply.status == 200, "{reply}");
            Ok(())
        })
        .await
    }

    /// A call that changes something, on the admin listener.
    ///
    /// # Errors
    /// No response.
    pub async fn change(&self, path: &str) -> Result<Reply> {
        let request = Request::post(path).header("x-weir-admin", "1").body(Full::<Bytes>::default())?;
        self.admin().send(request).await
    }

    /// Takes a worker out of service; no request reaches it after the call has returned.
    ///
    /// # Errors
    /// The gateway does not confirm that.
    pub async fn drain(&self, worker: &str) -> Result<()> {
        let reply = self.change(&format!("/v1/workers/{worker}/drain")).await?;
        ensure!(reply.status == 200, "{reply}");
        Ok(())
    }

    /// Puts a worker back in service.
    ///
    /// # Errors
    /// The gateway does not confirm that.
    pub async fn undrain(&self, worker: &str) -> Result<()> {
        let reply = self.change(&format!("/v1/workers/{worker}/undrain")).await?;
        ensure!(reply.status == 200, "{reply}");
        Ok(())
    }

    /// What `/v1/config` says.
    ///
    /// # Errors
    /// It says nothing.
    pub async fn config(&self) -> Result<Value> {
        self.admin().get("/v1/config").await?.json()
    }

    /// The generation of the configuration in use.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn generation(&self) -> Result<u64> {
        self.config().await?.get("generation").and_then(Value::as_u64).context("no generation")
    }

    /// The last report of a worker that the gateway has seen.
    ///
    /// # Errors
    /// It has seen none, or knows no such worker.
    pub async fn report(&self, worker: &str) -> Result<LoadReport> {
        let mut detail = self.admin().get(&format!("/v1/workers/{worker}")).await?.json()?;
        let report = detail.get_mut("report").map(Value::take).context("no report")?;
        Ok(serde_json::from_value(report)?)
    }

    /// Workers whose health is another than `health`, each with what it is.
    ///
    /// # Errors
    /// The list cannot be had.
    pub async fn workers_not(&self, health: &str) -> Result<Vec<String>> {
        let list = self.admin().get("/v1/workers").await?.json()?;
        let workers = list.get("workers").and_then(Value::as_array).context("no workers")?;
        let others = workers.iter().filter(|worker| worker.get("health").is_none_or(|it| it != health));
        Ok(others.map(ToString::to_string).collect())
    }
}
