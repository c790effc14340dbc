//! What the gateway knows right now, for every request to read: one immutable [`Snapshot`] behind one atomic load.
//!
//! Owns the current configuration, the registered workers and everything that names resolve to. All changes (a
//! configuration applied, a report arrived, a probe failed, a drain) travel as [`Event`]s over one bounded channel
//! to one [`Writer`] task, which alone publishes snapshots. Knows neither pingora nor how reports are fetched.
//! Read by the proxy, the admin listener, probes and shutdown; written to by reload, probes and the admin listener.

mod drain;
pub mod event;
mod member;
pub mod settings;
mod sighting;
mod writer;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot, watch};
use weir_config::GatewayConfig;
use weir_protocol::WorkerId;
use weir_routing::{Admission, Directory, Endpoint, Health, RouteTable};

pub use self::{
    drain::{DrainWait, Drained},
    event::{Event, ProbeFailure},
    sighting::Sighting,
    writer::Writer,
};
use crate::telemetry::{FleetGauges, Telemetry};

/// Events that may wait for the writer. It handles one in microseconds, so the channel fills only when the process
/// starves; then probes, reloads and drains wait for room, while hints of failed connects are dropped and counted:
/// the next probe finds out the same.
const EVENT_QUEUE: usize = 1024;

/// Everything a request needs to be routed, as of one moment.
pub struct Snapshot {
    /// Generation of the configuration: 1 at start, one more with every change applied.
    pub generation: u64,
    /// The configuration in use.
    pub config: Arc<GatewayConfig>,
    /// Registered workers, in the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What model names mean.
    pub directory: Directory,
    /// The `[[route]]` rules.
    pub routes: RouteTable,
    /// The same workers by name, each with what was last seen of it.
    workers: HashMap<WorkerId, (Arc<Endpoint>, Arc<Sighting>)>,
}

impl Snapshot {
    /// The registered worker of that name and what was last seen of it.
    #[must_use]
    pub fn worker(&self, name: &WorkerId) -> Option<(&Arc<Endpoint>, &Arc<Sighting>)> {
        self.workers.get(name).map(|(endpoint, sighting)| (endpoint, sighting))
    }

    /// Whether every registered worker has reported or failed a probe.
    fn settled(&self) -> bool {
        self.workers.values().all(|(_, sighting)| sighting.settled())
    }
}

/// The gateway's shared state. Cheap to read from any thread; changed by its writer alone.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    events: mpsc::Sender<Event>,
    /// Generation last published: who watches it learns of workers that came and went.
    generation: watch::Sender<u64>,
    admission: Admission,
    watches: Admission,
    telemetry: Arc<Telemetry>,
    /// Set for good once all workers had settled. Were it asked anew, each worker added later would send the clients
    /// of all others away until its first probe.
    started: AtomicBool,
    stopping: AtomicBool,
    open: Arc<AtomicU64>,
}

/// One request from its first header to the end of its answer. Dropping it counts the request out; a stop waits
/// for all of them.
#[derive(Debug)]
#[must_use = "dropping it at once counts the request out"]
pub struct OpenRequest(Arc<AtomicU64>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Why an operator's call on the registry did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The name is not registered; the caller named a worker that does not exist.
    #[error("no worker is registered as '{0}'")]
    UnknownWorker(WorkerId),
    /// The writer has ended because the process is about to exit.
    #[error("the gateway is stopping")]
    Stopped,
}

impl Registry {
    /// A registry that serves `config` as generation 1, with every worker still unknown, and its writer, which
    /// must be run for anything to change.
    #[must_use]
    pub fn new(config: Arc<GatewayConfig>, telemetry: Arc<Telemetry>) -> (Arc<Self>, Writer) {
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        let members = member::Members::new(&config);
        let (in_flight, watches) = (config.limits.in_flight, config.limits.watches);
        let first = members.first_snapshot(config);
        let registry = Arc::new(Self {
            admission: Admission::new(in_flight),
            watches: Admission::new(watches),
            started: AtomicBool::new(first.settled()),
            snapshot: ArcSwap::from_pointee(first),
            events,
            generation: watch::Sender::new(1),
            telemetry,
            stopping: AtomicBool::new(false),
            open: Arc::default(),
        });
        let writer = Writer::new(Arc::clone(&registry), queue, members);
        (registry, writer)
    }

    /// The present state, for a look that ends at once.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The present state, to keep for a request's whole life. A guard kept that long would use up the few fast
    /// slots that a thread has for them.
    #[must_use]
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The limit on requests in flight; follows `[limits] in_flight`.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The limit on calls that last without a worker; follows `[limits] watches`.
    #[must_use]
    pub fn watches(&self) -> &Admission {
        &self.watches
    }

    /// Where events are counted.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Counts a request in until the guard is dropped. Every request takes one first of all, refused ones too:
    /// a stop must not cut an answer that is being written.
    pub fn open_request(&self) -> OpenRequest {
        self.open.fetch_add(1, SeqCst);
        OpenRequest(Arc::clone(&self.open))
    }

    /// Requests begun and not yet answered in full.
    #[must_use]
    pub fn open_requests(&self) -> u64 {
        self.open.load(SeqCst)
    }

    /// Hint from the proxy that no connection to the worker could be made: counts as a failed probe and has the
    /// worker probed at once. Never waits; when the writer's queue is full the hint is dropped and counted.
    pub fn report_connect_failure(&self, worker: &WorkerId) {
        if self.events.try_send(Event::ConnectFailed { worker: worker.clone() }).is_err() {
            self.telemetry.record_hint_dropped();
        }
    }

    /// Has a worker probed at once: something about it was changed.
    pub fn probe_now(&self, worker: &WorkerId) {
        if let Some((_, sighting)) = self.snapshot().worker(worker) {
            sighting.wake();
        }
    }

    /// Whether a stop was asked for: readiness says no, and answers should close their connection.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Begins the stop; cannot be taken back.
    pub fn begin_stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    /// Whether clients may come: every worker has once reported or failed a probe, and no stop was asked for. Workers
    /// that a reload adds after that change nothing.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.started.load(SeqCst) && !self.stopping()
    }

    /// Makes `config` the one in use. Returns its generation once requests see it.
    ///
    /// # Errors
    /// [`RegistryError::Stopped`]
    pub async fn apply(&self, config: Arc<GatewayConfig>) -> Result<u64, RegistryError> {
        let (reply, applied) = oneshot::channel();
        self.send(Event::Apply { config, reply }).await?;
        applied.await.map_err(|_| RegistryError::Stopped)
    }

    /// Hands an event to the writer; waits while its queue is full.
    ///
    /// # Errors
    /// [`RegistryError::Stopped`]
    pub async fn send(&self, event: Event) -> Result<(), RegistryError> {
        self.events.send(event).await.map_err(|_| RegistryError::Stopped)
    }

    /// The generation in use, and a wake-up with every next one.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// What `/metrics` shows of this moment.
    #[must_use]
    pub fn gauges(&self) -> FleetGauges {
        let snapshot = self.snapshot.load();
        let mut gauges = FleetGauges {
            in_flight: u64::try_from(self.admission.in_flight()).unwrap_or(u64::MAX),
            open: self.open_requests(),
            generation: snapshot.generation,
            ..FleetGauges::default()
        };
        for endpoint in &snapshot.endpoints {
            let count = match endpoint.live.health() {
                Health::Unknown => &mut gauges.unknown,
                Health::Healthy => &mut gauges.healthy,
                Health::Unhealthy => &mut gauges.unhealthy,
            };
            *count += 1;
            gauges.draining += u64::from(endpoint.live.draining());
        }
        gauges
    }

    /// Publishes what the writer built.
    fn publish(&self, snapshot: Snapshot) {
        let (generation, settled) = (snapshot.generation, snapshot.settled());
        self.snapshot.store(Arc::new(snapshot));
        self.started.fetch_or(settled, SeqCst);
        self.generation.send_if_modified(|last| std::mem::replace(last, generation) != generation);
    }
}

#[cfg(test)]
mod tests;
