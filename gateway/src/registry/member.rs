//! The writer's private book: every registered worker with its health tracker and its last report.
//!
//! Decides what survives a change of configuration (all live state of a worker whose name and address stay the
//! same) and whether a report changes anything that routing looks at. Only [`super::Writer`] has one.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use weir_config::GatewayConfig;
use weir_protocol::{Lifecycle, LoadReport, ModelName, Version, WorkerId};
use weir_routing::{Directory, Endpoint, EndpointSpec, Health, HealthThresholds, HealthTracker};

use super::{ProbeFailure, Sighting, Snapshot, settings};

/// What an event asks of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The published snapshot still says everything.
    Nothing,
    /// A new snapshot must be published.
    Rebuild,
}

/// Every registered worker, in the order of the file.
pub(super) struct Members {
    list: Vec<Member>,
    places: HashMap<WorkerId, usize>,
}

struct Member {
    endpoint: Arc<Endpoint>,
    sighting: Arc<Sighting>,
    tracker: HealthTracker,
}

impl Members {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let mut members = Self { list: Vec::new(), places: HashMap::new() };
        members.register(config);
        members
    }

    /// Takes over the workers of `config`. One whose name, address and kind were registered before keeps its live state:
    /// requests in flight, drain, health, last report.
    pub(super) fn register(&mut self, config: &GatewayConfig) {
        let thresholds = settings::thresholds(config);
        let mut before: HashMap<WorkerId, Member> =
            self.list.drain(..).map(|member| (member.endpoint.spec.id.clone(), member)).collect();
        for worker in &config.workers {
            let spec = settings::endpoint(worker);
            let kept = before.remove(&spec.id).filter(|member| member.endpoint.spec.same_process(&spec));
            self.list.push(match kept {
                Some(member) => member.registered_again(spec, thresholds),
                None => Member::new(spec, thresholds),
            });
        }
        let names = self.list.iter().map(|member| member.endpoint.spec.id.clone());
        self.places = names.zip(0..).collect();
    }

    pub(super) fn endpoint(&self, worker: &WorkerId) -> Option<&Arc<Endpoint>> {
        Some(&self.list.get(*self.places.get(worker)?)?.endpoint)
    }

    /// The worker of that name, provided that it is still registered at `address`.
    fn at(&mut self, worker: &WorkerId, address: SocketAddr) -> Option<&mut Member> {
        let member = self.list.get_mut(*self.places.get(worker)?)?;
        (member.endpoint.spec.address == address).then_some(member)
    }

    /// Takes in a report.
    pub(super) fn reported(&mut self, worker: &WorkerId, at: SocketAddr, report: Arc<LoadReport>) -> Effect {
        self.at(worker, at).map_or(Effect::Nothing, |member| member.reported(report))
    }

    /// Takes in a failed probe.
    pub(super) fn probe_failed(&mut self, worker: &WorkerId, at: SocketAddr, why: ProbeFailure) -> Effect {
        self.at(worker, at).map_or(Effect::Nothing, |member| member.probe_failed(why))
    }

    /// Takes in that a request could not connect.
    pub(super) fn connect_failed(&mut self, worker: &WorkerId) -> Effect {
        let place = self.places.get(worker).copied();
        let Some(member) = place.and_then(|place| self.list.get_mut(place)) else { return Effect::Nothing };
        let effect = member.probe_failed(ProbeFailure::ConnectFailed);
        member.sighting.wake();
        effect
    }

    /// The snapshot of a gateway that has just started.
    pub(super) fn first_snapshot(&self, config: Arc<GatewayConfig>) -> Snapshot {
        self.snapshot(1, config, &Directory::default())
    }

    /// A snapshot of this moment; what `previous` counted of unchanged replicas goes on in it.
    pub(super) fn snapshot(
        &self,
        generation: u64,
        config: Arc<GatewayConfig>,
        previous: &Directory,
    ) -> Snapshot {
        let members: Vec<weir_routing::Member> = self.list.iter().map(Member::for_routing).collect();
        let known = |member: &Member| (Arc::clone(&member.endpoint), Arc::clone(&member.sighting));
        Snapshot {
            generation,
            endpoints: self.list.iter().map(|member| Arc::clone(&member.endpoint)).collect(),
            directory: Directory::build(previous, &members, &settings::directory(&config)),
            routes: settings::routes(&config),
            workers: self
                .list
                .iter()
                .map(|member| (member.endpoint.spec.id.clone(), known(member)))
                .collect(),
            config,
        }
    }
}

impl Member {
    fn new(spec: EndpointSpec, thresholds: HealthThresholds) -> Self {
        let tracker = HealthTracker::new(thresholds);
        Self { endpoint: Arc::new(Endpoint::new(spec)), sighting: Arc::default(), tracker }
    }

    /// The same worker under a changed registration (weight, labels, host name).
    fn registered_again(mut self, spec: EndpointSpec, thresholds: HealthThresholds) -> Self {
        self.tracker.set_thresholds(thresholds);
        if self.endpoint.spec != spec {
            self.endpoint = Arc::new(Endpoint { spec, live: Arc::clone(&self.endpoint.live) });
        }
        self
    }

    fn for_routing(&self) -> weir_routing::Member {
        weir_routing::Member {
            endpoint: Arc::clone(&self.endpoint),
            report: self.sighting.report(),
            settled: self.sighting.settled(),
        }
    }

    fn reported(&mut self, report: Arc<LoadReport>) -> Effect {
        let last = self.sighting.report();
        if last.as_ref().is_some_and(|last| last.epoch == report.epoch && last.seq > report.seq) {
            return Effect::Nothing; // overtaken by a later one of the same life
        }
        if last.as_ref().is_some_and(|last| last.epoch != report.epoch) {
            tracing::info!(worker = %self.endpoint.spec.id, epoch = report.epoch, "worker was restarted");
        }
        let effect = match &last {
            Some(last) if states(last).eq(states(&report)) => Effect::Nothing,
            _ => Effect::Rebuild,
        };
        self.accepts(report.accepting);
        self.sighting.reported(report);
        let transition = self.tracker.on_probe(true);
        self.turned(transition);
        effect
    }

    fn probe_failed(&mut self, failure: ProbeFailure) -> Effect {
        let effect = if self.sighting.settled() { Effect::Nothing } else { Effect::Rebuild };
        self.sighting.failed(failure);
        let transition = self.tracker.on_probe(false);
        self.turned(transition);
        effect
    }

    fn accepts(&self, accepting: bool) {
        if accepting != self.endpoint.live.accepting() {
            tracing::info!(worker = %self.endpoint.spec.id, accepting, "worker changed whether it accepts requests");
            self.endpoint.live.set_accepting(accepting);
        }
    }

    /// Publishes a change of health.
    fn turned(&self, transition: Option<Health>) {
        let Some(health) = transition else { return };
        self.endpoint.live.set_health(health);
        let (worker, address) = (&self.endpoint.spec.id, self.endpoint.spec.address);
        match self.sighting.failure() {
            Some(reason) => tracing::warn!(%worker, %address, %reason, "worker is {}", health.name()),
            None => tracing::info!(%worker, %address, "worker is {}", health.name()),
        }
    }
}

/// The part of a report that routing looks at.
fn states(report: &LoadReport) -> impl Iterator<Item = (&ModelName, Version, bool, Lifecycle)> {
    report.models.iter().map(|replica| (&replica.model, replica.version, replica.versioned, replica.state))
}
