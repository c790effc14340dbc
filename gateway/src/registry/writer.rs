//! The one task that changes the registry.
//!
//! Takes events in order, and publishes at most one snapshot for all that were waiting: a thousand workers that
//! report in the same moment cost one rebuild, not a thousand. Who asked for a change is answered after it is
//! visible.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weir_config::GatewayConfig;
use weir_protocol::WorkerId;
use weir_routing::Endpoint;

use super::{
    Event, Registry,
    member::{Effect, Members},
};
use crate::telemetry::RebuildCause;

/// Events taken in before a snapshot is published; bounds how long the first of them waits.
const BATCH: usize = 256;

/// Owns the receiving end of the registry's events.
pub struct Writer {
    registry: Arc<Registry>,
    events: mpsc::Receiver<Event>,
    members: Members,
    generation: u64,
    config: Arc<GatewayConfig>,
    /// Why the published snapshot is out of date, if it is.
    stale: Option<RebuildCause>,
    /// Who waits for its configuration to be visible.
    applied: Vec<(oneshot::Sender<u64>, u64)>,
}

impl Writer {
    pub(super) fn new(registry: Arc<Registry>, events: mpsc::Receiver<Event>, members: Members) -> Self {
        let config = Arc::clone(&registry.snapshot().config);
        Self { registry, events, members, generation: 1, config, stale: None, applied: Vec::new() }
    }

    /// Applies events until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.events.recv_many(&mut batch, BATCH) => {}
            }
            batch.drain(..).for_each(|event| self.take(event));
            self.publish();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Apply { config, reply } => self.apply(config, reply),
            Event::Report { worker, address, report } => {
                self.registry.telemetry().record_probe(true);
                let effect = self.members.reported(&worker, address, report);
                self.note(effect, RebuildCause::Report);
            }
            Event::ProbeFailed { worker, address, failure } => {
                self.registry.telemetry().record_probe(false);
                let effect = self.members.probe_failed(&worker, address, failure);
                self.note(effect, RebuildCause::Probe);
            }
            Event::ConnectFailed { worker } => {
                let effect = self.members.connect_failed(&worker);
                self.note(effect, RebuildCause::Probe);
            }
            Event::Drain { worker, draining, reply } => {
                // An answer nobody waits for any more is no loss: the switch is turned either way.
                _ = reply.send(self.drain(&worker, draining));
            }
        }
    }

    fn apply(&mut self, config: Arc<GatewayConfig>, reply: oneshot::Sender<u64>) {
        self.members.register(&config);
        self.registry.admission().set_limit(config.limits.in_flight);
        self.registry.watches().set_limit(config.limits.watches);
        self.config = config;
        self.generation += 1;
        self.applied.push((reply, self.generation));
        self.stale = Some(RebuildCause::Config);
    }

    fn drain(&self, worker: &WorkerId, draining: bool) -> Option<Arc<Endpoint>> {
        let endpoint = self.members.endpoint(worker)?;
        if endpoint.live.draining() != draining {
            endpoint.live.set_draining(draining);
            tracing::info!(%worker, draining, "worker drain changed");
        }
        Some(Arc::clone(endpoint))
    }

    fn note(&mut self, effect: Effect, cause: RebuildCause) {
        if effect == Effect::Rebuild {
            // A configuration in the same batch is the weightier cause.
            self.stale.get_or_insert(cause);
        }
    }

    fn publish(&mut self) {
        if let Some(cause) = self.stale.take() {
            let previous = self.registry.snapshot.load();
            let next = self.members.snapshot(self.generation, Arc::clone(&self.config), &previous.directory);
            self.registry.publish(next);
            self.registry.telemetry().record_rebuild(cause);
        }
        for (reply, generation) in self.applied.drain(..) {
            _ = reply.send(generation);
        }
    }
}
