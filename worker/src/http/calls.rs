//! What each call answers.
//!
//! Dispatch over [`RestCall`], and the calls that need no model; an inference is answered by `inference`. A body that
//! stays unread is thrown away when it is small, else the connection ends with the answer.

use std::sync::Arc;

use http::{HeaderValue, Request, Version as HttpVersion, request::Parts};
use hyper::body::Incoming;
use serde::Serialize;
use weir_protocol::{OipError, Reason, headers, openapi, rest::RestCall};

use super::{body, inference, linger::Unread, peer::Peer, repository, respond};
use crate::{control, grpc, infer::Rejection, model::store::Unresolved, server::Worker, shutdown::Phase};

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
    if grpc::is_grpc(&inbound.parts.headers) {
        return Err(OipError::new(Reason::UnsupportedEncoding, "gRPC needs HTTP/2").into());
    }
    if path == "/metrics" {
        return metrics(worker, method);
    }
    match RestCall::parse(method, path)? {
        RestCall::Live => Ok(respond::json(&serde_json::json!({ "live": true }))),
        RestCall::Ready => ready(worker),
        RestCall::ServerMetadata => Ok(respond::json(&control::server_metadata())),
        RestCall::OpenApi => Ok(respond::document(openapi::DOCUMENT)),
        RestCall::ModelMetadata(target) => told(inbound, control::model_metadata(&worker.store, &target)),
        RestCall::ModelConfig(target) => told(inbound, control::model_config(&worker.store, &target)),
        RestCall::ModelStatistics(target) => {
            told(inbound, control::statistics(&worker.store, target.as_ref()))
        }
        RestCall::ModelReady(target) => {
            let resolved = worker.store.resolve(&target.model, target.version.as_ref());
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
        RestCall::RepositoryIndex => repository::index(worker, inbound).await,
        RestCall::RepositoryLoad(model) => repository::load(worker, inbound, &model).await,
        RestCall::RepositoryUnload(model) => repository::unload(worker, inbound, &model).await,
        RestCall::Generate(..) | RestCall::NamedInBody(_) => {
            Err(OipError::new(Reason::Unsupported, "this worker serves tensors: see POST infer").into())
        }
    }
}

/// 200 with what was asked about a model.
fn told<T: Serialize>(
    inbound: &Inbound,
    answer: Result<T, Unresolved>,
) -> Result<respond::Response, Rejection> {
    answer.map(|answer| respond::json(&answer)).map_err(|unresolved| inbound.unresolved(&unresolved))
}

fn metrics(worker: &Worker, method: &str) -> Result<respond::Response, Rejection> {
    if method != "GET" && method != "HEAD" {
        return Err(OipError::new(Reason::MethodNotAllowed, "use GET for /metrics").into());
    }
    worker.record_gauges();
    Ok(respond::metrics(worker.telemetry.render()))
}

fn ready(worker: &Worker) -> Result<respond::Response, Rejection> {
    worker.ready()?;
    Ok(respond::json(&serde_json::json!({ "ready": true })))
}
