//! Answers an inference: admits it, reads its body, hands it to `infer`.
//!
//! Everything that can be said before the body is read is said before: a refusal then costs no upload.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use hyper::body::Body;
use weir_protocol::{
    OipError, Reason, Refusal,
    codec::{self, Encoded},
    headers,
    rest::Target,
};

use super::{
    body, budget,
    calls::{BodyState, Inbound},
    head, respond,
};
use crate::{
    infer::{
        self, Call, Rejection, Timings,
        admission::{self, Admitted},
    },
    model::ModelSpec,
    server::Worker,
};

/// What a request's head says about its body and its time.
struct Head {
    json_len: Option<usize>,
    deadline: Option<Duration>,
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
    let head = read_head(worker, inbound).inspect_err(|rejection| admission::count(worker, rejection))?;
    let admitted = admission::admit(worker, target, inbound.gateway_id().is_some())?;
    let result = read_and_run(worker, inbound, &admitted, &head).await;
    admitted.record(worker, result.as_ref().map(|(_, timings)| timings));
    let mut response = match result {
        Ok((encoded, _)) => respond::answered(encoded),
        Err(rejection) => respond::rejected(&rejection, inbound.trusted),
    };
    respond::served(&mut response, &admitted.served(worker));
    Ok(response)
}

/// Everything that the head alone tells.
fn read_head(worker: &Worker, inbound: &Inbound) -> Result<Head, Rejection> {
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
    let json_len = head::number(map, headers::INFERENCE_HEADER_CONTENT_LENGTH, expected)?;
    let json_len = json_len.map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    let deadline = admission::deadline(worker, head::time_left(map, inbound.trusted)?);
    Ok(Head { json_len, deadline })
}

async fn read_and_run(
    worker: &Worker,
    inbound: &mut Inbound,
    admitted: &Admitted,
    head: &Head,
) -> Result<(Encoded, Timings), Rejection> {
    let limits = &worker.config.limits;
    let BodyState::Unread(body) = std::mem::replace(&mut inbound.body, BodyState::Broken) else {
        return Err(OipError::new(Reason::Internal, "the body was read before").into());
    };
    let mut share = worker.bodies.share();
    let body = body::read(body, limits.body_bytes.as_usize(), limits.body_timeout, &mut share).await?;
    inbound.body = BodyState::Read;
    // Held to the end of this function, for tensors made from JSON, and for as long as anybody has a piece of the body.
    let share = Arc::new(share);
    let body = budget::hold(body, &share);
    let (json_len, codec_limits) = (head.json_len, worker.codec_limits);
    let call = Call {
        deadline: head.deadline,
        received: worker.clock.now(),
        clock: worker.clock,
        text_bytes: json_len.unwrap_or(body.len()),
    };
    let decode = move |_: &ModelSpec| codec::decode_request(&body, json_len, &codec_limits);
    let answered = infer::run(&admitted.lanes, call, decode).await?;
    let text_bytes = answered.text_bytes();
    answered.write(worker.clock, text_bytes, |response| codec::encode_response(&response)).await
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
