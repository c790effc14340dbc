//! `/v1/workers`: what is registered, how it is, and taking it out of service and back in.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_protocol::{LoadReport, WorkerId};
use weir_routing::{Endpoint, Labels};

use super::{Admin, AdminError};
use crate::registry::{DrainWait, Sighting};

/// How much longer than a connect a drain waits for requests that were picked before it: they only have to be
/// handed over.
const HANDOVER: Duration = Duration::from_secs(1);
/// Longest `?wait=`: a call must end before proxies and people lose patience.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// One worker, as JSON.
#[derive(Serialize)]
struct WorkerView<'a> {
    name: &'a WorkerId,
    address: SocketAddr,
    authority: &'a str,
    kind: &'static str,
    /// `null` = it gets no gRPC calls.
    grpc_address: Option<SocketAddr>,
    weight: f64,
    labels: &'a Labels,
    health: &'static str,
    /// Why the latest probe failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    draining: bool,
    accepting: bool,
    in_flight: u64,
    dispatching: u64,
}

impl<'a> WorkerView<'a> {
    fn new(endpoint: &'a Endpoint, sighting: &Sighting) -> Self {
        let (spec, live) = (&endpoint.spec, &endpoint.live);
        Self {
            name: &spec.id,
            address: spec.address,
            authority: &spec.authority,
            kind: spec.kind.name(),
            grpc_address: spec.grpc.as_ref().map(|grpc| grpc.address),
            weight: spec.weight,
            labels: &spec.labels,
            health: live.health().name(),
            problem: sighting.failure().map(|failure| failure.to_string()),
            draining: live.draining(),
            accepting: live.accepting(),
            in_flight: live.in_flight(),
            dispatching: live.dispatching(),
        }
    }
}

/// All of them.
#[derive(Serialize)]
struct WorkerList<'a> {
    workers: Vec<WorkerView<'a>>,
}

/// One worker with its last report.
#[derive(Serialize)]
struct WorkerDetail<'a> {
    #[serde(flatten)]
    worker: WorkerView<'a>,
    report: Option<&'a LoadReport>,
}

/// `GET /v1/workers`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.registry.snapshot_full();
    let known = snapshot.endpoints.iter().filter_map(|endpoint| snapshot.worker(&endpoint.spec.id));
    let workers = known.map(|(endpoint, sighting)| WorkerView::new(endpoint, sighting)).collect();
    Json(WorkerList { workers }).into_response()
}

/// `GET /v1/workers/W`
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    worker: Result<Path<String>, PathRejection>,
) -> Result<Response, AdminError> {
    let Path(worker) = worker?;
    let snapshot = admin.registry.snapshot_full();
    let known = worker.parse().ok().and_then(|name| snapshot.worker(&name));
    let (endpoint, sighting) = known.ok_or_else(|| unknown(&worker))?;
    let report = sighting.report();
    let detail = WorkerDetail { worker: WorkerView::new(endpoint, sighting), report: report.as_deref() };
    Ok(Json(detail).into_response())
}

/// Query of a drain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainQuery {
    wait: Option<String>,
}

/// `POST /v1/workers/W/drain[?wait=30s]`: answers when no request can reach the worker any more (200), or tells how
/// many may still (202). With `wait` it answers when the worker has nothing in flight, or after that time.
pub(super) async fn drain(
    State(admin): State<Arc<Admin>>,
    worker: Result<Path<String>, PathRejection>,
    query: Result<Query<DrainQuery>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Path(worker) = worker?;
    let name: WorkerId = worker.parse().map_err(|_| unknown(&worker))?;
    let in_flight = query?.wait.as_deref().map_or(Ok(Duration::ZERO), wait)?;
    let dispatching = admin.registry.snapshot().config.timeouts.connect.saturating_add(HANDOVER);
    let drained = admin.registry.drain(&name, DrainWait { dispatching, in_flight }).await?;
    let status = if drained.dispatching == 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = json!({
        "worker": name,
        "draining": true,
        "dispatching": drained.dispatching,
        "in_flight": drained.in_flight,
    });
    Ok((status, Json(answer)).into_response())
}

/// `POST /v1/workers/W/undrain`
pub(super) async fn undrain(
    State(admin): State<Arc<Admin>>,
    worker: Result<Path<String>, PathRejection>,
) -> Result<Response, AdminError> {
    let Path(worker) = worker?;
    let name: WorkerId = worker.parse().map_err(|_| unknown(&worker))?;
    admin.registry.undrain(&name).await?;
    Ok(Json(json!({ "worker": name, "draining": false })).into_response())
}

fn wait(text: &str) -> Result<Duration, AdminError> {
    let wait = humantime::parse_duration(text).ok().filter(|wait| *wait <= MAX_WAIT);
    let help = || format!("wait must be a duration up to {}s, such as wait=30s", MAX_WAIT.as_secs());
    wait.ok_or_else(|| AdminError::Bad(help()))
}

fn unknown(worker: &str) -> AdminError {
    AdminError::NotFound(format!("no worker is registered as '{}'", worker.escape_debug()))
}
