//! Fleets for the tests beside the code: endpoints, reports and directories in one line each.
//!
//! Part of the crate when it is compiled for tests. Goes through [`Directory::build`] like the registry does, so that no test relies on a
//! pool that cannot exist.

use std::{net::SocketAddr, sync::Arc};

use weir_protocol::{Bytes, Lifecycle, LoadReport, ModelName, Version, WorkerId, load::ReplicaLoad};

use crate::{
    Ask, Directory, DirectorySettings, Endpoint, EndpointKind, EndpointSpec, GrpcListener, Health, Labels,
    Member, Needs, Policy, Pool,
};

/// The model of fleets with only one.
pub(crate) const MODEL: &str = "digits";

pub(crate) fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> WorkerId {
    text.parse().unwrap()
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub(crate) fn labels(words: &[(&str, &str)]) -> Labels {
    words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Worker `worker` of weight 1 on port 9000, without labels.
pub(crate) fn spec(worker: &str) -> EndpointSpec {
    let address = SocketAddr::from(([127, 0, 0, 1], 9000));
    EndpointSpec {
        id: id(worker),
        kind: EndpointKind::Weir,
        address,
        authority: address.to_string(),
        grpc: Some(GrpcListener { address, authority: address.to_string() }),
        models: Vec::new(),
        weight: 1.0,
        labels: Labels::new(),
    }
}

/// The endpoint of `spec`, healthy.
pub(crate) fn healthy(spec: EndpointSpec) -> Arc<Endpoint> {
    let endpoint = Endpoint::new(spec);
    endpoint.live.set_health(Health::Healthy);
    Arc::new(endpoint)
}

/// What `endpoint` would report with these model versions.
pub(crate) fn report(endpoint: &Endpoint, models: &[(&str, u64, Lifecycle)]) -> Arc<LoadReport> {
    let replica = |(index, (model, number, state)): (usize, &(&str, u64, Lifecycle))| ReplicaLoad {
        id: index as u32 + 1,
        model: name(model),
        version: version(*number),
        versioned: true,
        state: *state,
        reason: None,
        device: 0,
        size: Bytes(1),
        max_batch_size: 1,
        queued: 0,
        in_flight: 0,
        arrivals: 0,
        estimate: None,
    };
    Arc::new(LoadReport {
        format: weir_protocol::load::FORMAT,
        worker: endpoint.spec.id.clone(),
        epoch: 1,
        seq: 1,
        accepting: true,
        devices: Vec::new(),
        models: models.iter().enumerate().map(replica).collect(),
    })
}

/// A member that has reported these model versions.
pub(crate) fn reported(endpoint: &Arc<Endpoint>, models: &[(&str, u64, Lifecycle)]) -> Member {
    Member { endpoint: Arc::clone(endpoint), report: Some(report(endpoint, models)), settled: true }
}

/// A member that has not reported.
pub(crate) fn silent(endpoint: &Arc<Endpoint>, settled: bool) -> Member {
    Member { endpoint: Arc::clone(endpoint), report: None, settled }
}

/// Every model that is reported, under least connections.
pub(crate) fn settings() -> DirectorySettings {
    DirectorySettings {
        default_policy: Policy::LeastConnections,
        per_model: [].into(),
        listed_only: false,
        listed: [].into(),
    }
}

/// A directory in which each endpoint serves version 1 of [`MODEL`].
pub(crate) fn serving(previous: &Directory, endpoints: &[Arc<Endpoint>]) -> Directory {
    let members: Vec<Member> =
        endpoints.iter().map(|endpoint| reported(endpoint, &[(MODEL, 1, Lifecycle::Serving)])).collect();
    Directory::build(previous, &members, &settings())
}

/// Healthy endpoints `w0`, `w1`, .. of these weights, up to 100.
pub(crate) fn weighted(weights: &[f64]) -> Vec<Arc<Endpoint>> {
    let endpoint = |(index, weight): (usize, &f64)| {
        healthy(EndpointSpec { weight: *weight, ..spec(&format!("w{index:02}")) })
    };
    weights.iter().enumerate().map(endpoint).collect()
}

/// The pool of version 1 of [`MODEL`].
pub(crate) fn pool(directory: &Directory) -> &Pool {
    directory.resolve(&name(MODEL), Some(version(1)), Needs::rest(&Labels::new())).unwrap().1
}

/// An ask without conditions.
pub(crate) fn ask(policy: Policy, labels: &Labels, random: u64) -> Ask<'_> {
    Ask { policy, needs: Needs::rest(labels), tried: &[], random }
}
