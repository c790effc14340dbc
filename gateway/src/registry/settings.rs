//! From configuration words to routing words: the one place where the two vocabularies meet.
//!
//! `weir-routing` does not know the configuration crate; everything here is a plain translation without decisions.

use std::sync::Arc;

use weir_config::gateway::{self, GatewayConfig, ModelDoor, PolicyName, Upstream, WorkerKind};
use weir_routing::{
    DirectorySettings, EndpointKind, EndpointSpec, GrpcListener, HealthThresholds, Policy, RouteRule,
    RouteTable,
};

/// The routing policy of that name.
#[must_use]
pub fn policy(name: PolicyName) -> Policy {
    match name {
        PolicyName::RoundRobin => Policy::RoundRobin,
        PolicyName::LeastConnections => Policy::LeastConnections,
    }
}

/// A registered worker as routing sees it.
#[must_use]
pub fn endpoint(worker: &gateway::Worker) -> EndpointSpec {
    EndpointSpec {
        id: worker.name.clone(),
        kind: match worker.kind {
            WorkerKind::Weir => EndpointKind::Weir,
            WorkerKind::Oip => EndpointKind::Foreign,
        },
        address: worker.address,
        authority: worker.authority.clone(),
        grpc: worker.grpc.clone().map(|Upstream { address, authority }| GrpcListener { address, authority }),
        models: worker.models.clone(),
        weight: worker.weight,
        labels: worker.labels.clone(),
    }
}

/// How results of probes in a row change a worker's health.
#[must_use]
pub fn thresholds(config: &GatewayConfig) -> HealthThresholds {
    HealthThresholds {
        unhealthy_after: config.health.unhealthy_after,
        healthy_after: config.health.healthy_after,
    }
}

/// Which models may be asked for and how their replicas are chosen.
#[must_use]
pub fn directory(config: &GatewayConfig) -> DirectorySettings {
    let per_model =
        config.models.iter().filter_map(|(name, model)| Some((name.clone(), policy(model.policy?))));
    DirectorySettings {
        default_policy: policy(config.gateway.policy),
        per_model: per_model.collect(),
        listed_only: config.gateway.models == ModelDoor::Listed,
        listed: config.models.keys().cloned().collect(),
    }
}

/// The `[[route]]` rules in file order.
#[must_use]
pub fn routes(config: &GatewayConfig) -> RouteTable {
    RouteTable::new(config.routes.iter().map(rule).collect())
}

fn rule(route: &gateway::Route) -> RouteRule {
    let headers = route.matches.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
    RouteRule {
        name: route.name.clone(),
        model: route.matches.model.clone(),
        host: route.matches.host.clone(),
        headers: headers.collect(),
        to_model: route.to.model.clone(),
        to_version: route.to.version,
        labels: Arc::new(route.to.labels.clone()),
        policy: route.policy.map(policy),
    }
}
