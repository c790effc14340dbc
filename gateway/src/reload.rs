//! Brings a changed `gateway.toml` into use, or says why not: watch, read, check, compare, apply.
//!
//! One task takes every trigger in turn (the file's folder changed, a second has passed, SIGHUP, an operator's
//! call), so two reloads never overlap. A file with problems changes nothing: the last good one serves on, the
//! problems are logged and shown at `/v1/config`. Knows the file and the registry; the admin listener talks to it
//! through [`Reload`].

mod told;
mod watch;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use weir_config::{Changes, GatewayConfig, Problems};

use self::{
    told::{joined, removes_most, told},
    watch::Watch,
};
use crate::{
    registry::{Registry, RegistryError},
    telemetry::ReloadKind,
};

/// How often the file is looked at besides notifications, which some file systems do not send.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Calls that may wait for the reload task; an operator's call beyond it waits for room.
const CALLS: usize = 16;

/// How reading the file again ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// A new generation serves.
    Applied {
        /// Its number.
        generation: u64,
    },
    /// The file says what is in use already.
    Unchanged,
    /// The file has problems; what served before serves on.
    Rejected(Problems),
}

/// What the latest reading of the file led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadStatus {
    /// Its outcome.
    pub outcome: ReloadOutcome,
    /// Keys whose value in use differs from the file's until the gateway is restarted, such as `gateway.listen`.
    pub needs_restart: Vec<&'static str>,
}

/// A configuration and the bytes it was read from, or slightly older ones.
pub struct Loaded {
    /// The configuration, checked.
    pub config: Arc<GatewayConfig>,
    seen: Option<Vec<u8>>,
}

impl Loaded {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn read(file: &Path) -> Result<Self, Problems> {
        // Bytes first: if the file changes between the two readings, the next look finds other bytes and reloads.
        // The other way round that change would go unnoticed.
        let seen = fs::read(file).ok();
        Ok(Self { config: Arc::new(GatewayConfig::load(file)?), seen })
    }
}

/// The way to the reload task. Clones lead to the same one.
#[derive(Clone)]
pub struct Reload {
    calls: mpsc::Sender<oneshot::Sender<ReloadStatus>>,
    status: Arc<ArcSwap<ReloadStatus>>,
    file: Arc<Path>,
}

impl Reload {
    /// A reload of `file`, which `started` was read from, and the task that does it.
    #[must_use]
    pub fn new(file: PathBuf, started: Loaded, registry: Arc<Registry>) -> (Self, Reloader) {
        let (calls, queue) = mpsc::channel(CALLS);
        let status =
            ReloadStatus { outcome: ReloadOutcome::Applied { generation: 1 }, needs_restart: Vec::new() };
        let status = Arc::new(ArcSwap::from_pointee(status));
        let reload = Self { calls, status: Arc::clone(&status), file: Arc::from(file.as_path()) };
        let Loaded { config, seen } = started;
        (reload, Reloader { file, seen, started: config, registry, calls: queue, status })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the latest reading of the file led to.
    #[must_use]
    pub fn status(&self) -> Arc<ReloadStatus> {
        self.status.load_full()
    }

    /// Reads the file now, whether or not it changed: names are resolved and secrets are read again.
    ///
    /// # Errors
    /// [`RegistryError::Stopped`]
    pub async fn now(&self) -> Result<ReloadStatus, RegistryError> {
        let (reply, done) = oneshot::channel();
        self.calls.send(reply).await.map_err(|_| RegistryError::Stopped)?;
        done.await.map_err(|_| RegistryError::Stopped)
    }
}

/// The task behind [`Reload`].
pub struct Reloader {
    file: PathBuf,
    /// The bytes last looked at; a trigger that finds the same ones is no news.
    seen: Option<Vec<u8>>,
    started: Arc<GatewayConfig>,
    registry: Arc<Registry>,
    calls: mpsc::Receiver<oneshot::Sender<ReloadStatus>>,
    status: Arc<ArcSwap<ReloadStatus>>,
}

impl Reloader {
    /// Serves every trigger until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut watch = Watch::new(&self.file);
        let mut hangup = hangups();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                () = watch.changed() => self.look(&mut watch).await,
                _ = look.tick() => self.look(&mut watch).await,
                () = received(&mut hangup) => self.reload().await.map(drop),
                Some(reply) = self.calls.recv() => self.answer(reply).await,
            };
            if done.is_err() {
                return; // the registry has ended: so does this
            }
        }
    }

    async fn answer(&mut self, reply: oneshot::Sender<ReloadStatus>) -> Result<(), RegistryError> {
        let status = self.reload().await?;
        // An operator who went away has the status at /v1/config.
        _ = reply.send(status);
        Ok(())
    }

    /// Reloads if the file's bytes are others than those last looked at, once nobody is writing them.
    async fn look(&mut self, watch: &mut Watch) -> Result<(), RegistryError> {
        watch.whole().await;
        if tokio::fs::read(&self.file).await.ok() == self.seen {
            return Ok(());
        }
        self.reload().await.map(drop)
    }

    /// Reads the file and applies what it says.
    async fn reload(&mut self) -> Result<ReloadStatus, RegistryError> {
        self.seen = tokio::fs::read(&self.file).await.ok(); // before loading: see `Loaded::read`
        let file = self.file.clone();
        // Host names are resolved on the way, which may take as long as a name server likes.
        let read = tokio::task::spawn_blocking(move || GatewayConfig::load(&file)).await;
        let status = match read {
            Ok(Ok(config)) => self.take(Arc::new(config)).await?,
            Ok(Err(problems)) => self.reject(problems),
            Err(panicked) => self.reject(self.unreadable(&io::Error::other(panicked))),
        };
        self.status.store(Arc::new(status.clone()));
        Ok(status)
    }

    async fn take(&mut self, config: Arc<GatewayConfig>) -> Result<ReloadStatus, RegistryError> {
        let current = Arc::clone(&self.registry.snapshot().config);
        let changes = Changes::between(&current, &config);
        // Against what the process started with: a restart stays due until it comes or the file goes back.
        let needs_restart = Changes::between(&self.started, &config).needs_restart;
        if changes.is_empty() {
            self.registry.telemetry().record_reload(ReloadKind::Unchanged);
            return Ok(ReloadStatus { outcome: ReloadOutcome::Unchanged, needs_restart });
        }
        let generation = self.registry.apply(config).await?;
        self.registry.telemetry().record_reload(ReloadKind::Applied);
        tracing::info!(generation, "configuration applied: {}", told(&changes));
        if removes_most(&changes, current.workers.len()) {
            let workers = joined(&changes.workers_removed);
            tracing::warn!(
                generation,
                workers,
                "most workers were removed; their drains and counts are gone"
            );
        }
        if !needs_restart.is_empty() {
            tracing::warn!("needs a restart: {}", needs_restart.join(", "));
        }
        Ok(ReloadStatus { outcome: ReloadOutcome::Applied { generation }, needs_restart })
    }

    fn reject(&self, problems: Problems) -> ReloadStatus {
        self.registry.telemetry().record_reload(ReloadKind::Rejected);
        tracing::error!("configuration rejected, the last good one serves on:\n{problems}");
        let needs_restart = self.status.load().needs_restart.clone();
        ReloadStatus { outcome: ReloadOutcome::Rejected(problems), needs_restart }
    }

    fn unreadable(&self, error: &io::Error) -> Problems {
        let problem = weir_config::Problem {
            line: 1,
            column: 1,
            key: String::new(),
            message: format!("cannot be read: {error}"),
            help: String::new(),
        };
        Problems { file: self.file.clone(), list: vec![problem] }
    }
}

/// SIGHUP, unless the system refuses to tell.
fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload the configuration"))
        .ok()
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
