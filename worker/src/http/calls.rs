//! What each call answers.
//!
//! Everything that can be said before an inference's body is read is said before: a refusal then costs no upload.
//! A body that stays unread is thrown away when it is small, else the connection ends with the answer.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request, Version as HttpVersion, header::CONTENT_ENCODING, request::Parts};
use hyper::body::{Body, Incoming};
use weir_protocol::{
    OipError, Reason, Refusal, headers,
    metadata::{ModelMetadata, ServerMetadata, TensorMetadata},
    rest::{RestCall, Target},
};

use super::{body, linger::Unread, peer::Peer, respond};
use crate::{
    backend,
    infer::{self, Call, Rejection},
    model::{lanes::Lanes, replica::Replica},
    server::Worker,
    shutdown::{Phase, RequestGuard},
};

/// A request whose body may not have been read yet.
struct Inbound {
    parts: Parts,
    body: BodyState,
    trusted: bool,
}

enum BodyState {
    Unread(Incoming),
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
    let mut response = dispatch(worker, &mut inbound).await.unwrap_or_else(|rejection| {
        if let Some(refusal) = rejection.refusal {
            worker.telemetry.record_refusal(refusal);
        }
        let mut response = respond::rejected(&rejection, trusted);
        if rejection.error.reason == Reason::MethodNotAllowed {
            respond::allow(
                &mut response,
                if inbound.parts.method == http::Method::POST { "GET" } else { "POST" },
            );
        }
        response
    });
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
    response
}

async fn dispatch(worker: &Arc<Worker>, inbound: &mut Inbound) -> Result<respond::Response, Rejection> {
    let (method, path) = (inbound.parts.method.as_str(), inbound.parts.uri.path());
    if path == "/metrics" {
        return metrics(worker, method);
    }
    let call = RestCall::parse(method, path).inspect_err(|error| {
        worker.telemetry.record_error(None, error.reason);
    })?;
    match call {
        RestCall::Live => Ok(respond::json(&serde_json::json!({ "live": true }))),
        RestCall::Ready => ready(worker),
        RestCall::ServerMetadata => Ok(respond::json(&server_metadata())),
        RestCall::ModelMetadata(target) => model_metadata(worker, &target),
        RestCall::ModelReady(target) => {
            worker.store.resolve(&target.model, target.version)?;
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
        RestCall::Infer(target) => infer(worker, inbound, &target).await,
    }
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

fn model_metadata(worker: &Worker, target: &Target) -> Result<respond::Response, Rejection> {
    let model = worker.store.model(&target.model)?;
    if let Some(version) = target.version {
        model.replica(version)?;
    }
    let config = model.config.as_ref().map_err(|_| model.not_ready(target.version))?;
    let tensors = |specs: &[weir_config::model::TensorSpec]| {
        let one = |spec: &weir_config::model::TensorSpec| TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype,
            shape: spec.shape.clone(),
        };
        specs.iter().map(one).collect()
    };
    Ok(respond::json(&ModelMetadata {
        name: target.model.to_string(),
        versions: match target.version {
            Some(version) => vec![version.to_string()],
            None => model.serving().map(|version| version.to_string()).collect(),
        },
        platform: backend::platform(&config.backend).to_owned(),
        inputs: tensors(&config.inputs),
        outputs: tensors(&config.outputs),
    }))
}

/// An inference that may read its body.
struct Admitted {
    _guard: RequestGuard,
    replica: Arc<Replica>,
    lanes: Arc<Lanes>,
    json_len: Option<usize>,
    deadline: Option<Duration>,
}

async fn infer(
    worker: &Arc<Worker>,
    inbound: &mut Inbound,
    target: &Target,
) -> Result<respond::Response, Rejection> {
    let admitted = admit(worker, inbound, target).inspect_err(|rejection| {
        worker.telemetry.record_error(None, rejection.error.reason);
    })?;
    let replica = &admitted.replica;
    let _in_flight = replica.begin();
    let result = read_and_run(worker, inbound, &admitted).await;
    let mut response = match result {
        Ok(answered) => {
            replica.metrics.record_ok(answered.overhead);
            respond::answered(answered)
        }
        Err(rejection) => {
            worker.telemetry.record_error(Some((&replica.model, replica.version)), rejection.error.reason);
            if let Some(refusal) = rejection.refusal {
                worker.telemetry.record_refusal(refusal);
            }
            respond::rejected(&rejection, inbound.trusted)
        }
    };
    let name = worker.config.worker.name.as_str();
    respond::served(&mut response, replica.model.as_str(), replica.version, name);
    Ok(response)
}

/// Everything that can be checked before the body is read.
fn admit(worker: &Worker, inbound: &Inbound, target: &Target) -> Result<Admitted, Rejection> {
    // Counted before the phase is looked at: so a drain that sees nothing in flight has refused everything since.
    let guard = worker.shutdown.begin(worker.config.limits.in_flight);
    if worker.shutdown.phase() != Phase::Running {
        return Err(Rejection::refused(Refusal::Draining));
    }
    let guard = guard.ok_or_else(|| Rejection::refused(Refusal::QueueFull))?;
    let (replica, lanes) = worker.store.resolve(&target.model, target.version)?;
    if lanes.is_full() {
        return Err(Rejection::refused(Refusal::QueueFull));
    }
    let map = &inbound.parts.headers;
    check_encoding(map)?;
    if let BodyState::Unread(body) = &inbound.body {
        body::check_promised(body.size_hint().exact(), worker.config.limits.body_bytes.as_usize())?;
    }
    let expected = "the length of the JSON part in bytes";
    let json_len = number(map, headers::INFERENCE_HEADER_CONTENT_LENGTH, expected)?;
    let json_len = json_len.map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    let deadline = deadline(worker, map, inbound.trusted)?;
    Ok(Admitted { _guard: guard, replica, lanes, json_len, deadline })
}

async fn read_and_run(
    worker: &Worker,
    inbound: &mut Inbound,
    admitted: &Admitted,
) -> Result<infer::Answered, Rejection> {
    let limits = &worker.config.limits;
    let BodyState::Unread(body) = std::mem::replace(&mut inbound.body, BodyState::Broken) else {
        return Err(OipError::new(Reason::Internal, "the body was read before").into());
    };
    let body = body::read(body, limits.body_bytes.as_usize(), limits.body_timeout).await?;
    inbound.body = BodyState::Read;
    let call = Call {
        body,
        json_len: admitted.json_len,
        limits: worker.codec_limits,
        deadline: admitted.deadline,
        received: worker.clock.now(),
        clock: worker.clock,
    };
    infer::run(&admitted.lanes, call).await
}

fn check_encoding(map: &HeaderMap) -> Result<(), OipError> {
    match map.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Ok(()),
        Some(_) => Err(OipError::new(
            Reason::UnsupportedEncoding,
            "compressed bodies are not supported: send it plain",
        )),
    }
}

/// When the answer stops being useful, on the worker's clock: what the gateway says, and what the client says.
fn deadline(worker: &Worker, map: &HeaderMap, trusted: bool) -> Result<Option<Duration>, OipError> {
    let gateway = if trusted { number(map, headers::DEADLINE_US, "microseconds")? } else { None };
    let client = number(map, headers::CLIENT_TIMEOUT_MS, "milliseconds")?;
    let left = [gateway.map(Duration::from_micros), client.map(Duration::from_millis)];
    let now = worker.clock.now();
    Ok(left.into_iter().flatten().min().map(|left| now.saturating_add(left)))
}

fn number(map: &HeaderMap, name: &'static str, expected: &str) -> Result<Option<u64>, OipError> {
    let Some(value) = map.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number
        .map(Some)
        .ok_or_else(|| OipError::bad_request(format!("header {name}: expected {expected}, a whole number")))
}
