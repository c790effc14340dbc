//! What each call answers.
//!
//! Dispatch over [`RestCall`], and the calls that need no model; an inference is answered by `inference`. A body that
//! stays unread is thrown away when it is small, else the connection ends with the answer.

use std::sync::Arc;

use http::{HeaderValue, Request, Version as HttpVersion, request::Parts};
use hyper::body::Incoming;
use weir_config::model::TensorSpec;
use weir_protocol::{
    OipError, Reason, headers,
    metadata::{ModelMetadata, ServerMetadata, TensorMetadata},
    openapi,
    rest::{RestCall, Target},
};

use super::{body, inference, linger::Unread, peer::Peer, respond};
use crate::{backend, infer::Rejection, model::store::Unresolved, server::Worker, shutdown::Phase};

/// A request whose body may not have been read yet.
pub(super) struct Inbound {
    /// Its head.
    pub(super) parts: Parts,
    /// Its body.
    pub(super) body: BodyState,
    /// Whether its sender may be a gateway: its internal headers count.
    pub(super) trusted: bool,
}

impl Inbound {
    /// The id that a gateway gave the request. `None` from anybody else, trusted networks included: gateways always
    /// send one.
    pub(super) fn gateway_id(&self) -> Option<&HeaderValue> {
        self.parts.headers.get(headers::REQUEST_ID).filter(|_| self.trusted)
    }

    /// The rejection of a name that leads to no serving version.
    pub(super) fn unresolved(&self, unresolved: &Unresolved) -> Rejection {
        Rejection::unresolved(unresolved, self.gateway_id().is_some())
    }
}

/// What became of a request's body.
pub(super) enum BodyState {
    /// Nothing yet.
    Unread(Incoming),
    /// All of it was read.
    Read,
    /// Reading it failed somewhere in the middle.
    Broken,
}

/// Answers one request.
pub(super) async fn answer(
    worker: &Arc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    unread: &Unread,
) -> respond::Response {
    let (parts, body) = request.into_parts();
    let trusted = peer.is_trusted(&parts.headers, &worker.config.gateway);
    let mut inbound = Inbound { parts, body: BodyState::Unread(body), trusted };
    let result = dispatch(worker, &mut inbound).await;
    let mut response = result.unwrap_or_else(|rejection| rejected(worker, &inbound, &rejection));
    let silence = worker.config.limits.body_timeout;
    let is_over = match std::mem::replace(&mut inbound.body, BodyState::Read) {
        BodyState::Read => false,
        BodyState::Broken => true,
        BodyState::Unread(body) => !body::discard(body, silence).await,
    };
    if is_over {
        unread.set();
    }
    let is_http1 = inbound.parts.version <= HttpVersion::HTTP_11;
    if is_http1 && (is_over || worker.shutdown.phase() != Phase::Running) {
        respond::close(&mut response);
    }
    respond::echo_id(&mut response, &inbound.parts.headers);
    log(&inbound, &response);
    response
}

/// One line a request, at DEBUG; the id is the one in the gateway's log.
fn log(inbound: &Inbound, response: &respond::Response) {
    tracing::debug!(
        request_id = inbound.gateway_id().and_then(|id| id.to_str().ok()),
        method = %inbound.parts.method,
        path = inbound.parts.uri.path(),
        status = response.status().as_u16(),
        reason = response.headers().get(headers::REASON).and_then(|reason| reason.to_str().ok()),
        "answered"
    );
}

/// The answer to a request that reached no model version.
fn rejected(worker: &Worker, inbound: &Inbound, rejection: &Rejection) -> respond::Response {
    let reason = rejection.error.reason;
    worker.telemetry.record_error(None, reason);
    let mut response = respond::rejected(rejection, inbound.trusted);
    if reason == Reason::MethodNotAllowed {
        let posts = RestCall::parse("POST", inbound.parts.uri.path()).is_ok();
        respond::allow(&mut response, if posts { "POST" } else { "GET" });
    }
    response
}

async fn dispatch(worker: &Arc<Worker>, inbound: &mut Inbound) -> Result<respond::Response, Rejection> {
    let (method, path) = (inbound.parts.method.as_str(), inbound.parts.uri.path());
    if path == "/metrics" {
        return metrics(worker, method);
    }
    match RestCall::parse(method, path)? {
        RestCall::Live => Ok(respond::json(&serde_json::json!({ "live": true }))),
        RestCall::Ready => ready(worker),
        RestCall::ServerMetadata => Ok(respond::json(&server_metadata())),
        RestCall::OpenApi => Ok(respond::document(openapi::DOCUMENT)),
        RestCall::ModelMetadata(target) => {
            model_metadata(worker, &target).map_err(|unresolved| inbound.unresolved(&unresolved))
        }
        RestCall::ModelReady(target) => {
            let resolved = worker.store.resolve(&target.model, number(&target));
            resolved.map_err(|unresolved| inbound.unresolved(&unresolved))?;
            Ok(respond::json(&serde_json::json!({ "name": target.model, "ready": true })))
        }
        RestCall::Load if inbound.trusted => {
            let accepting = worker.shutdown.phase() == Phase::Running;
            Ok(respond::json(&worker.reporter.report(&worker.store, accepting)))
        }
        RestCall::Load => Err(OipError::new(
            Reason::Forbidden,
            "load reports are for gateways: list this address in [gateway] trusted, or send weir-token",
        )
        .into()),
        RestCall::Infer(target) => inference::answer(worker, inbound, &target).await,
        _ => Err(OipError::new(Reason::Unsupported, "not offered yet").into()),
    }
}

fn number(target: &Target) -> Option<weir_protocol::Version> {
    target.version.as_ref().and_then(weir_protocol::VersionRef::number)
}

fn metrics(worker: &Worker, method: &str) -> Result<respond::Response, Rejection> {
    if method != "GET" && method != "HEAD" {
        return Err(OipError::new(Reason::MethodNotAllowed, "use GET for /metrics").into());
    }
    worker.record_gauges();
    Ok(respond::metrics(worker.telemetry.render()))
}

fn ready(worker: &Worker) -> Result<respond::Response, Rejection> {
    let error = |reason, message| Err(OipError::new(reason, message).into());
    if worker.shutdown.phase() != Phase::Running {
        return error(Reason::Draining, "the worker is shutting down");
    }
    if !worker.store.is_settled() {
        return error(Reason::NotReady, "models are still being loaded");
    }
    Ok(respond::json(&serde_json::json!({ "ready": true })))
}

fn server_metadata() -> ServerMetadata {
    ServerMetadata {
        name: "weir-worker".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: vec!["binary_tensor_data".to_owned()],
    }
}

fn model_metadata(worker: &Worker, target: &Target) -> Result<respond::Response, Unresolved> {
    let model = worker.store.model(&target.model)?;
    if let Some(version) = number(target) {
        model.replica(version)?;
    }
    let config = model.config.as_ref().map_err(|_| model.not_ready(number(target)))?;
    let tensors = |specs: &[TensorSpec]| {
        let one = |spec: &TensorSpec| TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype,
            shape: spec.shape.clone(),
        };
        specs.iter().map(one).collect()
    };
    Ok(respond::json(&ModelMetadata {
        name: target.model.to_string(),
        versions: match number(target) {
            Some(version) => vec![version.to_string()],
            None => model.serving().map(|version| version.to_string()).collect(),
        },
        platform: backend::platform(&config.backend).to_owned(),
        inputs: tensors(&config.inputs),
        outputs: tensors(&config.outputs),
    }))
}
