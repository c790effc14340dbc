//! Answers an inference: admits it, reads its body, hands it to `infer`.
//!
//! Everything that can be said before the body is read is said before: a refusal then costs no upload.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use hyper::body::Body;
use weir_protocol::{OipError, Reason, Refusal, headers, rest::Target};

use super::{
    body,
    budget::Share,
    calls::{BodyState, Inbound},
    respond,
};
use crate::{
    infer::{self, Call, Rejection},
    model::{lanes::Lanes, replica::Replica},
    server::Worker,
    shutdown::{Phase, RequestGuard},
};

/// An inference that may read its body.
struct Admitted {
    _guard: RequestGuard,
    replica: Arc<Replica>,
    lanes: Arc<Lanes>,
    json_len: Option<usize>,
    deadline: Option<Duration>,
}

/// A body whose bytes stay taken from the budget for as long as any piece of it lives: also beyond a client that hung
/// up, while its body is still being decoded or run.
struct Held {
    body: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Answers an inference.
///
/// # Errors
/// What was wrong before a model version was found; later errors are answers in its name.
pub(super) async fn answer(
    worker: &Arc<Worker>,
    inbound: &mut Inbound,
    target: &Target,
) -> Result<respond::Response, Rejection> {
    let admitted = admit(worker, inbound, target).inspect_err(|rejection| count(worker, rejection))?;
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
            count(worker, &rejection);
            respond::rejected(&rejection, inbound.trusted)
        }
    };
    let name = worker.config.worker.name.as_str();
    respond::served(&mut response, replica.model.as_str(), replica.version, name);
    Ok(response)
}

fn count(worker: &Worker, rejection: &Rejection) {
    if let Some(refusal) = rejection.refusal {
        worker.telemetry.record_refusal(refusal);
    }
}

/// Everything that can be checked before the body is read.
fn admit(worker: &Worker, inbound: &Inbound, target: &Target) -> Result<Admitted, Rejection> {
    // Counted before the phase is looked at: so a drain that sees nothing in flight has refused everything since.
    let guard = worker.shutdown.begin(worker.config.limits.in_flight);
    if worker.shutdown.phase() != Phase::Running {
        return Err(Rejection::refused(Refusal::Draining));
    }
    let guard = guard.ok_or_else(|| Rejection::refused(Refusal::QueueFull))?;
    let resolved = worker
        .store
        .resolve(&target.model, target.version.as_ref().and_then(weir_protocol::VersionRef::number));
    let (replica, lanes) = resolved.map_err(|unresolved| inbound.unresolved(&unresolved))?;
    if lanes.is_full() {
        return Err(Rejection::refused(Refusal::QueueFull));
    }
    let map = &inbound.parts.headers;
    check_encoding(map)?;
    if let BodyState::Unread(body) = &inbound.body {
        let promised = body.size_hint().exact();
        body::check_promised(promised, worker.config.limits.body_bytes.as_usize())?;
        if !worker.bodies.has_room(promised.unwrap_or(0)) {
            return Err(Rejection::refused(Refusal::Memory));
        }
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
    let mut share = worker.bodies.share();
    let body = body::read(body, limits.body_bytes.as_usize(), limits.body_timeout, &mut share).await?;
    inbound.body = BodyState::Read;
    // Held to the end of this function, for tensors made from JSON, and for as long as anybody has a piece of the body.
    let share = Arc::new(share);
    let body = Bytes::from_owner(Held { body, _share: Arc::clone(&share) });
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
    match map.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
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
    let left = [gateway.map(Duration::from_micros), client_timeout(map)?];
    let now = worker.clock.now();
    Ok(left.into_iter().flatten().min().map(|left| now.saturating_add(left)))
}

/// What the client says, in the gateway's own words.
fn client_timeout(map: &HeaderMap) -> Result<Option<Duration>, OipError> {
    let name = headers::CLIENT_TIMEOUT_MS;
    let wrong = || OipError::bad_request(format!("{name} must be a positive number of milliseconds"));
    let millis = number(map, name, "milliseconds").map_err(|_| wrong())?;
    if millis == Some(0) { Err(wrong()) } else { Ok(millis.map(Duration::from_millis)) }
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
