//! The repository calls over REST: their bodies, and what `control` answers.
//!
//! Bodies are small and may be empty. A call that is answered 200 has an empty object: clients look at the status.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde::de::IgnoredAny;
use weir_protocol::{ModelName, OipError, Reason};

use super::{
    body,
    calls::{BodyState, Inbound},
    respond,
};
use crate::{control, infer::Rejection, server::Worker};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Index {
    ready: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Change {
    parameters: BTreeMap<String, IgnoredAny>,
}

/// Every model version and its state.
///
/// # Errors
/// The body is not what the protocol says.
pub(super) async fn index(worker: &Worker, inbound: &mut Inbound) -> Result<respond::Response, Rejection> {
    let Index { ready } = read(worker, inbound).await?;
    let trusted = inbound.trusted;
    Ok(respond::json(&control::index(&worker.store, ready, trusted).models))
}

/// Loads a model.
///
/// # Errors
/// As [`control::load`]; the body is not what the protocol says.
pub(super) async fn load(
    worker: &Arc<Worker>,
    inbound: &mut Inbound,
    model: &ModelName,
) -> Result<respond::Response, Rejection> {
    // Asked before the body is read: who may not load hears that, and not what is wrong with the body.
    control::allow(worker)?;
    let Change { parameters } = read(worker, inbound).await?;
    control::load(worker, model, parameters.keys().map(String::as_str)).await?;
    Ok(respond::json(&serde_json::json!({})))
}

/// Unloads a model.
///
/// # Errors
/// As [`control::unload`]; the body is not what the protocol says.
pub(super) async fn unload(
    worker: &Arc<Worker>,
    inbound: &mut Inbound,
    model: &ModelName,
) -> Result<respond::Response, Rejection> {
    control::allow(worker)?;
    // No model here depends on another: unload_dependents changes nothing.
    let Change { .. } = read(worker, inbound).await?;
    control::unload(worker, model).await?;
    Ok(respond::json(&serde_json::json!({})))
}

/// Reads a body; an empty one is `{}`.
async fn read<T: Default + for<'de> Deserialize<'de>>(
    worker: &Worker,
    inbound: &mut Inbound,
) -> Result<T, Rejection> {
    let BodyState::Unread(body) = std::mem::replace(&mut inbound.body, BodyState::Broken) else {
        return Err(OipError::new(Reason::Internal, "the body was read before").into());
    };
    let mut share = worker.bodies.share();
    let limits = &worker.config.limits;
    let limit = body::CALL_BYTES.min(limits.body_bytes.as_usize());
    let body = body::read(body, limit, limits.body_timeout, &mut share).await?;
    inbound.body = BodyState::Read;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| OipError::bad_request(format!("the body: {error}")).into())
}
