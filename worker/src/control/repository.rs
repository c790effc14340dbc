//! The repository calls: what is there and in which state, load a model, unload it.
//!
//! Loading and unloading are for operators: only where worker.toml says `control = true`. A model is loaded and
//! unloaded as a whole; what serves is never disturbed by a load.

use std::{fmt::Write, sync::Arc};

use tokio::sync::oneshot;
use weir_protocol::{
    ModelName, OipError, Reason,
    error::shown,
    grpc::{RepositoryIndexResponse, repository_index_response::ModelIndex},
};

use crate::{
    model::{
        lifecycle::State,
        replica::Replica,
        repository,
        store::{Model, MyTurn, NotLoaded, Store},
    },
    server::Worker,
    shutdown::Phase,
};

/// What clients are told of a version that failed to load; the reason itself may hold paths.
const FAILED: &str = "it failed to load; the worker's log says why";

/// Every model version of the repository and its state; with `ready_only` those that serve. `trusted` callers are told
/// why a version failed to load.
#[must_use]
pub fn index(store: &Store, ready_only: bool, trusted: bool) -> RepositoryIndexResponse {
    let rows = store.models().into_iter().flat_map(|model| of_model(&model, trusted));
    RepositoryIndexResponse { models: rows.filter(|row| !ready_only || row.state == "READY").collect() }
}

/// Looks at a model's folder and loads every version in it that is not in memory: new ones, those that failed, those
/// that were unloaded. Answers when all of them serve. `parameters` are the names of those that came with the call.
///
/// Dropping the future does not stop a load that has begun.
///
/// # Errors
/// `forbidden` without `control = true`; `unsupported` for overrides; `model-not-found`; `bad-request` when a version
/// cannot be loaded, with the reason: the others serve; `draining` when the worker stops.
pub async fn load<'p>(
    worker: &Arc<Worker>,
    model: &ModelName,
    parameters: impl IntoIterator<Item = &'p str>,
) -> Result<(), OipError> {
    allow(worker)?;
    let is_override = |name: &&str| *name == "config" || name.starts_with("file:");
    if let Some(name) = parameters.into_iter().find(is_override) {
        let message = format!(
            "parameter '{}': a model is loaded as it is in the repository; change its files there, then load it",
            shown(name)
        );
        return Err(OipError::new(Reason::Unsupported, message));
    }
    let name = model.clone();
    change(worker, move |worker, turn| load_now(worker, &name, turn)).await
}

/// Takes every version of a model out of memory, after it has finished what it accepted, for at most `drain_timeout`.
/// A model that is not loaded stays so.
///
/// Dropping the future does not stop an unload that has begun.
///
/// # Errors
/// `forbidden` without `control = true`; `model-not-found`; `draining` when the worker stops.
pub async fn unload(worker: &Arc<Worker>, model: &ModelName) -> Result<(), OipError> {
    allow(worker)?;
    let name = model.clone();
    change(worker, move |worker, turn| {
        let model = worker.store.model(&name).map_err(|_| unknown(&name))?;
        worker.store.unload_model(&model, worker.config.worker.drain_timeout, turn);
        Ok(())
    })
    .await
}

fn load_now(worker: &Worker, name: &ModelName, turn: &MyTurn) -> Result<(), OipError> {
    let Some(found) = repository::find(&worker.config.worker.repository, name) else {
        worker.store.forget(name, turn);
        return Err(unknown(name));
    };
    let model = worker.store.refresh(found, &worker.telemetry, turn);
    let failed = worker.store.load_model(&model, &worker.host, turn);
    // A load that is asked for while the worker stops loads nothing.
    running(worker)?;
    if failed.is_empty() && !model.replicas.is_empty() {
        return Ok(());
    }
    Err(OipError::bad_request(why(&model, &failed)))
}

/// Why a model does not serve with all its versions.
fn why(model: &Model, failed: &[NotLoaded]) -> String {
    let name = model.name();
    let mut text = format!("model '{name}' cannot be loaded");
    if failed.is_empty() {
        text.push_str(": it has no version folder");
    }
    // What is wrong with model.toml is wrong for all its versions: told once.
    for alike in failed.chunk_by(|one, other| one.reason == other.reason) {
        let versions: Vec<_> = alike.iter().map(|failed| failed.version.to_string()).collect();
        let reason = alike.first().map_or("", |failed| &failed.reason);
        // Writing to a String cannot fail.
        let _ = write!(text, "; version {}: {reason}", versions.join(", "));
    }
    text
}

/// Runs a change when its turn has come, on a thread of its own.
async fn change(
    worker: &Arc<Worker>,
    work: impl FnOnce(&Worker, &MyTurn) -> Result<(), OipError> + Send + 'static,
) -> Result<(), OipError> {
    let turn = worker.store.turn().take().await;
    running(worker)?;
    let (reply, result) = oneshot::channel();
    let worker = Arc::clone(worker);
    // Fails to send when nobody waits any more.
    let run = move || _ = reply.send(work(&worker, &turn));
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a change of the repository broke off");
        OipError::new(Reason::Internal, "internal error; see the worker's log")
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(run).map_err(|error| broken(&error))?;
    result.await.map_err(|error| broken(&error))?
}

/// Whether this worker lets its callers load and unload.
///
/// # Errors
/// `forbidden`, with what to write where.
pub fn allow(worker: &Worker) -> Result<(), OipError> {
    if worker.config.worker.control {
        return Ok(());
    }
    let message = "loading and unloading is off: set control = true below [worker] in worker.toml";
    Err(OipError::new(Reason::Forbidden, message))
}

fn running(worker: &Worker) -> Result<(), OipError> {
    if worker.shutdown.phase() == Phase::Running {
        return Ok(());
    }
    Err(OipError::new(Reason::Draining, "the worker is shutting down"))
}

fn unknown(name: &ModelName) -> OipError {
    OipError::new(
        Reason::ModelNotFound,
        format!("unknown model '{name}': there is no such folder in the repository"),
    )
}

fn of_model(model: &Model, trusted: bool) -> Vec<ModelIndex> {
    let name = model.name().to_string();
    if model.replicas.is_empty() {
        let (state, reason) = ("UNAVAILABLE".to_owned(), "it has no version folder".to_owned());
        return vec![ModelIndex { name, version: String::new(), state, reason }];
    }
    let row = |replica: &Arc<Replica>| {
        let (state, reason) = told(&replica.state(), trusted);
        let (state, version) = (state.to_owned(), replica.version.to_string());
        ModelIndex { name: name.clone(), version, state, reason }
    };
    model.replicas.values().map(row).collect()
}

/// The protocol's word for a state, and why it is so.
fn told(state: &State, trusted: bool) -> (&'static str, String) {
    match state {
        State::Serving(_) => ("READY", String::new()),
        State::Absent => ("LOADING", "it waits for its turn".to_owned()),
        State::Loading | State::Warming => ("LOADING", String::new()),
        State::Draining(_) => ("UNLOADING", String::new()),
        State::Unloaded => ("UNAVAILABLE", "unloaded".to_owned()),
        State::Failed(reason) if trusted => ("UNAVAILABLE", reason.to_string()),
        State::Failed(_) => ("UNAVAILABLE", FAILED.to_owned()),
    }
}
