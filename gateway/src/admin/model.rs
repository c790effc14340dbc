//! `/v1/models`: what clients may ask for, and which workers would serve it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use weir_protocol::{ModelName, Version, WorkerId};
use weir_routing::{Labels, Model, Needs, Pool, Replica};

use super::{Admin, AdminError};

/// One model, as JSON.
#[derive(Serialize)]
struct ModelView<'a> {
    name: &'a ModelName,
    policy: &'static str,
    versions: Vec<VersionView<'a>>,
}

/// All of them.
#[derive(Serialize)]
struct ModelList<'a> {
    models: Vec<ModelView<'a>>,
}

/// One version of a model.
#[derive(Serialize)]
struct VersionView<'a> {
    version: Version,
    /// Replicas that would take a request now.
    eligible: usize,
    replicas: Vec<ReplicaView<'a>>,
}

/// One version on one worker.
#[derive(Serialize)]
struct ReplicaView<'a> {
    worker: &'a WorkerId,
    state: &'static str,
    in_flight: u64,
    sent: u64,
}

impl<'a> ModelView<'a> {
    fn new(name: &'a ModelName, model: &'a Model) -> Self {
        let versions = model.versions.values().map(VersionView::new).collect();
        Self { name, policy: model.policy.name(), versions }
    }
}

impl<'a> VersionView<'a> {
    fn new(pool: &'a Pool) -> Self {
        let replicas = pool.replicas.iter().map(ReplicaView::new).collect();
        Self { version: pool.version, eligible: pool.eligible(Needs::rest(&Labels::new())), replicas }
    }
}

impl<'a> ReplicaView<'a> {
    fn new(replica: &'a Replica) -> Self {
        Self {
            worker: &replica.endpoint.spec.id,
            state: replica.state.name(),
            in_flight: replica.live.in_flight(),
            sent: replica.live.sent(),
        }
    }
}

/// `GET /v1/models`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.registry.snapshot_full();
    let models = snapshot.directory.models().map(|(name, model)| ModelView::new(name, model)).collect();
    Json(ModelList { models }).into_response()
}

/// `GET /v1/models/M`
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    model: Result<Path<String>, PathRejection>,
) -> Result<Response, AdminError> {
    let Path(model) = model?;
    let snapshot = admin.registry.snapshot_full();
    let found = snapshot.directory.models().find(|(name, _)| name.as_str() == model);
    let (name, found) = found
        .ok_or_else(|| AdminError::NotFound(format!("no worker has the model '{}'", model.escape_debug())))?;
    Ok(Json(ModelView::new(name, found)).into_response())
}
