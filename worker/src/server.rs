//! The worker as a whole: what its parts share, and its life from the listener to the last answer.
//!
//! `main` makes a [`Server`] and runs it; tests do the same with a listener of their own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use weir_batching::{DeviceSettings, TurnOrder};
use weir_config::WorkerConfig;
use weir_protocol::{OipError, Reason, codec::CodecLimits};

use crate::{
    backend::Host,
    clock::Clock,
    device::Cpu,
    http::{self, BodyBudget},
    lanes::Lanes,
    model::{repository, store::Store},
    report::Reporter,
    shutdown::{CLOSE_LIMIT, MIN_NOTICE, Phase, Shutdown},
    tasks::Tasks,
    telemetry::Telemetry,
};

/// Time between two upkeeps of the metrics: at most that many seconds of samples pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What all parts of one worker share.
pub struct Worker {
    /// worker.toml.
    pub config: WorkerConfig,
    /// Bounds on decoding, from `config`.
    pub codec_limits: CodecLimits,
    /// The models.
    pub store: Store,
    /// Makes load reports.
    pub reporter: Reporter,
    /// The metrics.
    pub telemetry: Telemetry,
    /// The bytes that bodies in hand may have.
    pub bodies: BodyBudget,
    /// The process's phase.
    pub shutdown: Shutdown,
    /// The time.
    pub clock: Clock,
    /// What backends need to know of the machine.
    pub host: Host,
}

impl Worker {
    /// Whether inferences are taken.
    ///
    /// # Errors
    /// `draining`, and `not-ready` until every model is loaded or known not to load.
    pub fn ready(&self) -> Result<(), OipError> {
        if self.shutdown.phase() != Phase::Running {
            return Err(OipError::new(Reason::Draining, "the worker is shutting down"));
        }
        if !self.store.is_settled() {
            return Err(OipError::new(Reason::NotReady, "models are still being loaded"));
        }
        Ok(())
    }

    /// Brings the gauges up to date, for a reader who is about to see them.
    pub fn record_gauges(&self) {
        self.telemetry.record_memory(self.host.cpu.total(), self.host.cpu.free());
        self.telemetry.record_bodies(self.bodies.held());
        for replica in self.store.replicas() {
            let load = replica.load();
            replica.metrics.record_load(load.in_flight, load.queued);
            self.telemetry.record_state(&replica.model, replica.version, load.state);
        }
    }
}

/// A worker with its listener.
pub struct Server {
    worker: Arc<Worker>,
    listener: TcpListener,
}

impl Server {
    /// Reads the repository's folders and opens the listener. Nothing is loaded yet. `cpu` is the memory budget,
    /// `epoch` a number that differs from boot to boot.
    ///
    /// # Errors
    /// The repository cannot be listed, or the address cannot be listened on; the message names it.
    pub async fn bind(config: WorkerConfig, cpu: Arc<Cpu>, epoch: u64) -> io::Result<Self> {
        let named =
            |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let repository = &config.worker.repository;
        let found = repository::scan(repository)
            .map_err(named(format!("cannot list the repository {}", repository.display())))?;
        let address = config.worker.listen;
        let listener =
            TcpListener::bind(address).await.map_err(named(format!("cannot listen on {address}")))?;
        let (clock, telemetry) = (Clock::start(), Telemetry::new());
        let limits = &config.limits;
        let codec_limits = CodecLimits {
            json_depth: limits.json_depth,
            tensor_bytes: limits.body_bytes.as_usize(),
            ..CodecLimits::default()
        };
        let lanes = start_lanes(&config, clock).map_err(named("cannot start the lanes".to_owned()))?;
        let worker = Worker {
            codec_limits,
            store: Store::new(found, lanes, &telemetry),
            reporter: Reporter::new(config.worker.name.clone(), epoch, Arc::clone(&cpu)),
            host: Host { cpu, intra_op_threads: config.cpu.intra_op_threads },
            telemetry,
            bodies: BodyBudget::new(config.limits.body_total_bytes),
            shutdown: Shutdown::default(),
            clock,
            config,
        };
        Ok(Self { worker: Arc::new(worker), listener })
    }

    /// What the worker's parts share.
    #[must_use]
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// The address listened on.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Begins to load the repository, on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn load(&self) -> io::Result<()> {
        let worker = Arc::clone(&self.worker);
        let load = move || worker.store.load_all(&worker.host);
        std::thread::Builder::new().name("loader".to_owned()).spawn(load).map(drop)
    }

    /// Serves until [`Shutdown::enter`] moves the phase on, finishes what was accepted within `drain_timeout` and
    /// returns.
    pub async fn run(self) {
        let Self { worker, listener } = self;
        let (tasks, connections) = (Tasks::default(), Tasks::default());
        tasks.spawn("metrics upkeep", upkeep(Arc::clone(&worker)));
        tasks.spawn("listener", http::serve(Arc::clone(&worker), listener, connections.clone()));
        worker.shutdown.reached(Phase::Draining).await;
        drain(&worker, &connections).await;
        tasks.wait(CLOSE_LIMIT).await;
    }
}

fn start_lanes(config: &WorkerConfig, clock: Clock) -> io::Result<Lanes> {
    let turn_order = match config.cpu.turn_order {
        weir_config::worker::TurnOrder::Arrival => TurnOrder::Arrival,
        weir_config::worker::TurnOrder::Slo => TurnOrder::Slo,
    };
    let lanes = u32::try_from(config.cpu.lanes).unwrap_or(u32::MAX);
    Lanes::start(DeviceSettings { lanes, turn_order }, config.cpu.intra_op_threads, clock)
}

async fn upkeep(worker: Arc<Worker>) {
    loop {
        tokio::select! {
            () = worker.shutdown.reached(Phase::Closing) => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => worker.telemetry.upkeep(),
        }
    }
}

/// Finishes what was accepted, lets gateways notice, closes connections, ends lanes.
async fn drain(worker: &Arc<Worker>, connections: &Tasks) {
    let (began, limit) = (worker.clock.now(), worker.config.worker.drain_timeout);
    let has_peers = connections.running() > 0;
    worker.store.drain();
    tracing::info!(in_flight = worker.shutdown.in_flight(), "draining");
    if tokio::time::timeout(limit, worker.shutdown.idle()).await.is_err() {
        tracing::warn!(cut_off = worker.shutdown.in_flight(), "the drain timeout passed");
    }
    if has_peers {
        // Also when they are all gone by now: those that come back at once must find a refusal, not a closed door.
        let took = worker.clock.now().saturating_sub(began);
        tokio::time::sleep(MIN_NOTICE.min(limit).saturating_sub(took)).await;
    }
    worker.shutdown.enter(Phase::Closing);
    let left = limit.saturating_sub(worker.clock.now().saturating_sub(began));
    if !connections.wait(left.max(CLOSE_LIMIT)).await {
        tracing::warn!(connections = connections.running(), "connections were cut off");
    }
    // Lanes are idle by now, unless a client hung up while its request ran.
    let closing = Arc::clone(worker);
    let close = tokio::task::spawn_blocking(move || closing.store.close());
    if tokio::time::timeout(CLOSE_LIMIT, close).await.is_err() {
        tracing::warn!("a forward pass that nobody waits for was cut off");
    }
}
