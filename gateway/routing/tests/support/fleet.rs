//! A fleet of any size, built through the public interface alone.
//!
//! Shared by the tests that need a process of their own and by the benchmark, which link the crate from outside.

use std::{net::SocketAddr, sync::Arc};

use weir_protocol::{Bytes, Lifecycle, LoadReport, ModelName, Version, WorkerId, load::ReplicaLoad};
use weir_routing::{
    Directory, DirectorySettings, Endpoint, EndpointKind, EndpointSpec, GrpcListener, Health, Labels, Member,
    Needs, Policy, Pool,
};

/// Name of the model with this number.
pub(crate) fn model(number: usize) -> ModelName {
    format!("model-{number}").parse().unwrap()
}

/// The directory of [`members`].
pub(crate) fn fleet(workers: usize, models: usize) -> Directory {
    Directory::build(&Directory::default(), &members(workers, models), &settings())
}

/// Healthy workers, weights 1 to 4 in turn, that all serve version 1 of every model.
pub(crate) fn members(workers: usize, models: usize) -> Vec<Member> {
    (0..workers).map(|number| member(number, models)).collect()
}

/// Every model that is reported.
pub(crate) fn settings() -> DirectorySettings {
    DirectorySettings {
        default_policy: Policy::LeastConnections,
        per_model: [].into(),
        listed_only: false,
        listed: [].into(),
    }
}

/// The replicas of version 1 of `model`.
pub(crate) fn pool<'a>(directory: &'a Directory, model: &ModelName) -> &'a Pool {
    directory.resolve(model, None, Needs::rest(&Labels::new())).unwrap().1
}

fn member(number: usize, models: usize) -> Member {
    let id: WorkerId = format!("worker-{number}").parse().unwrap();
    let port = 10_000 + u16::try_from(number).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let endpoint = Endpoint::new(EndpointSpec {
        id: id.clone(),
        kind: EndpointKind::Weir,
        address,
        authority: address.to_string(),
        grpc: Some(GrpcListener { address, authority: address.to_string() }),
        models: Vec::new(),
        weight: (number % 4 + 1) as f64,
        labels: Labels::new(),
    });
    endpoint.live.set_health(Health::Healthy);
    let report = LoadReport {
        format: weir_protocol::load::FORMAT,
        worker: id,
        epoch: 1,
        seq: 1,
        accepting: true,
        devices: Vec::new(),
        models: (0..models).map(serving).collect(),
    };
    Member { endpoint: Arc::new(endpoint), report: Some(Arc::new(report)), settled: true }
}

fn serving(number: usize) -> ReplicaLoad {
    ReplicaLoad {
        id: u32::try_from(number).unwrap() + 1,
        model: model(number),
        version: Version::new(1).unwrap(),
        versioned: true,
        state: Lifecycle::Serving,
        reason: None,
        device: 0,
        size: Bytes(1),
        max_batch_size: 1,
        queued: 0,
        in_flight: 0,
        arrivals: 0,
        estimate: None,
    }
}
