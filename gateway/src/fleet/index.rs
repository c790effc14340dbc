//! The repository index of the fleet: every model version that some worker has, in its best state.
//!
//! A version that a request would reach now is READY; otherwise the worker that is nearest to serving it speaks for
//! it. A pure look at a snapshot.

use serde::Deserialize;
use weir_protocol::{
    Lifecycle, OipError,
    grpc::{RepositoryIndexResponse, repository_index_response::ModelIndex},
};
use weir_routing::{Labels, Needs, Pool, Replica};

use crate::registry::Snapshot;

/// Body of `POST /v2/repository/index`: empty, or an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IndexRequest {
    /// Whether to list only what takes inferences.
    pub ready: bool,
}

impl IndexRequest {
    /// Reads a body; fields beside `ready` are ignored.
    ///
    /// # Errors
    /// `bad-request` when it is neither empty nor an object whose `ready` is a boolean.
    pub fn parse(body: &[u8]) -> Result<Self, OipError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let wrong =
            |_| OipError::bad_request("the body must be empty or {\"ready\": true} or {\"ready\": false}");
        serde_json::from_slice(body).map_err(wrong)
    }
}

/// Who reads an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A client, who learns that a version failed and not why: a worker's words may name files.
    Client,
    /// The operator.
    Operator,
}

/// Every version of every model that clients may ask for, by name and version; with `ready_only` those that take
/// inferences.
#[must_use]
pub fn index(snapshot: &Snapshot, ready_only: bool, reader: Reader) -> RepositoryIndexResponse {
    let pools = snapshot.directory.models().flat_map(|(_, model)| model.versions.values());
    let rows =
        pools.map(|pool| row(snapshot, pool, reader)).filter(|row| !ready_only || row.state == "READY");
    RepositoryIndexResponse { models: rows.collect() }
}

fn row(snapshot: &Snapshot, pool: &Pool, reader: Reader) -> ModelIndex {
    let (state, reason) = if pool.eligible(Needs::rest(&Labels::new())) > 0 {
        ("READY", String::new())
    } else {
        nearest(snapshot, pool, reader)
    };
    ModelIndex {
        name: pool.model.to_string(),
        version: pool.version.to_string(),
        state: state.to_owned(),
        reason,
    }
}

/// What the replica that is nearest to serving says, when none can be sent a request.
fn nearest(snapshot: &Snapshot, pool: &Pool, reader: Reader) -> (&'static str, String) {
    let replica = pool.replicas.iter().min_by_key(|replica| distance(replica.state));
    let Some(replica) = replica else { return ("UNAVAILABLE", String::new()) };
    let worker = &replica.endpoint.spec.id;
    match replica.state {
        Lifecycle::Serving => ("UNAVAILABLE", "no worker that has it takes requests now".to_owned()),
        Lifecycle::Loading | Lifecycle::Warming => ("LOADING", String::new()),
        Lifecycle::Draining => ("UNLOADING", String::new()),
        Lifecycle::Failed if reader == Reader::Client => ("UNAVAILABLE", "failed to load".to_owned()),
        Lifecycle::Failed => ("UNAVAILABLE", format!("{worker}: {}", failure(snapshot, replica))),
        Lifecycle::Absent => ("UNAVAILABLE", "unloaded".to_owned()),
    }
}

/// How far a state is from serving; a failure says more than mere absence.
fn distance(state: Lifecycle) -> u8 {
    match state {
        Lifecycle::Serving => 0,
        Lifecycle::Warming => 1,
        Lifecycle::Loading => 2,
        Lifecycle::Draining => 3,
        Lifecycle::Failed => 4,
        Lifecycle::Absent => 5,
    }
}

/// Why a version failed, in its worker's words.
fn failure(snapshot: &Snapshot, replica: &Replica) -> String {
    let report = snapshot.worker(&replica.endpoint.spec.id).and_then(|(_, sighting)| sighting.report());
    let said = report.and_then(|report| {
        let same = |held: &&weir_protocol::load::ReplicaLoad| {
            held.model == replica.model && held.version == replica.version
        };
        report.models.iter().find(same)?.reason.clone()
    });
    said.unwrap_or_else(|| "failed".to_owned())
}
