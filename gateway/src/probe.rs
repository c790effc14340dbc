//! Asks every registered worker how it is and what it serves, again and again: health and knowledge of models at once.
//!
//! One loop per worker, started and ended as configurations come and go. A loop decides nothing: it sends what it
//! got to the registry's writer, which counts failures and publishes. Between probes it sleeps the configured
//! interval, unless a failed connect wakes it.

mod fetch;
mod foreign;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};
use weir_protocol::WorkerId;
use weir_routing::Endpoint;

use self::fetch::Fetch;
use crate::{
    registry::{Event, Registry, Sighting},
    task::Tasks,
};

/// Least time between the ends of one probe and the next of the same worker, however often it is woken: a worker
/// that refuses connections under heavy traffic must not be probed in a tight loop.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// How far an interval may deviate either way, so that many gateways and workers do not fall into step.
const JITTER_RATIO: f64 = 0.1;

/// Keeps one probe loop running for every registered worker, until the tasks are told to stop.
pub async fn run(registry: Arc<Registry>, tasks: Tasks) {
    let stop = tasks.stop_signal();
    let mut generations = registry.generations();
    let mut loops: HashMap<(WorkerId, SocketAddr), Running> = HashMap::new();
    loop {
        loops = rearrange(loops, &registry, &tasks);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = generations.changed() => if changed.is_err() { return },
        }
    }
}

/// A running loop; dropping it ends the loop.
struct Running {
    sighting: Arc<Sighting>,
    _stop: DropGuard,
}

/// Ends the loops of workers that are gone and starts those of new ones.
fn rearrange(
    mut before: HashMap<(WorkerId, SocketAddr), Running>,
    registry: &Arc<Registry>,
    tasks: &Tasks,
) -> HashMap<(WorkerId, SocketAddr), Running> {
    let snapshot = registry.snapshot_full();
    let registered = snapshot.endpoints.iter().filter_map(|endpoint| {
        let (_, sighting) = snapshot.worker(&endpoint.spec.id)?;
        Some((endpoint, sighting))
    });
    registered
        .map(|(endpoint, sighting)| {
            let key = (endpoint.spec.id.clone(), endpoint.spec.address);
            let kept = before.remove(&key).filter(|running| Arc::ptr_eq(&running.sighting, sighting));
            let running = kept.unwrap_or_else(|| start(endpoint, sighting, registry, tasks));
            (key, running)
        })
        .collect()
}

fn start(
    endpoint: &Arc<Endpoint>,
    sighting: &Arc<Sighting>,
    registry: &Arc<Registry>,
    tasks: &Tasks,
) -> Running {
    let stop = tasks.stop_signal().child_token();
    let probing = Probing {
        endpoint: Arc::clone(endpoint),
        sighting: Arc::clone(sighting),
        registry: Arc::clone(registry),
        fetch: Fetch::new(),
    };
    tasks.spawn("probe", probing.run(stop.clone()));
    Running { sighting: Arc::clone(sighting), _stop: stop.drop_guard() }
}

/// The loop of one worker.
struct Probing {
    /// As registered when the loop began: its name, address and kind stay for the loop's life.
    endpoint: Arc<Endpoint>,
    sighting: Arc<Sighting>,
    registry: Arc<Registry>,
    fetch: Fetch,
}

impl Probing {
    async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.probe_for_ever() => {}
        }
    }

    /// Ends only when the registry has ended.
    async fn probe_for_ever(&self) {
        loop {
            let event = self.probe().await;
            if self.registry.send(event).await.is_err() {
                return;
            }
            let interval = self.registry.snapshot().config.health.interval;
            tokio::time::sleep(MIN_PAUSE).await;
            let rest = jittered(interval, rand::random()).saturating_sub(MIN_PAUSE);
            tokio::select! {
                () = self.sighting.woken() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn probe(&self) -> Event {
        let snapshot = self.registry.snapshot_full();
        let (worker, address) = (self.endpoint.spec.id.clone(), self.endpoint.spec.address);
        let registered = snapshot.worker(&worker).map_or(&self.endpoint, |(endpoint, _)| endpoint);
        let token = snapshot.config.gateway.worker_token.as_ref();
        let got = self.fetch.report(&registered.spec, token, snapshot.config.health.timeout).await;
        match got {
            Ok(report) => Event::Report { worker, address, report: Arc::new(report) },
            Err(failure) => Event::ProbeFailed { worker, address, failure },
        }
    }
}

/// `interval`, stretched or shrunk by up to [`JITTER_RATIO`]; `random` is uniform in 0..1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 + JITTER_RATIO * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests;
