//! Answers an inference: admits it, reads its body, hands it to `infer`.
//!
//! Everything that can be said before the body is read is said before: a refusal then costs no upload.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::body::Body;
use weir_config::model::Padding;
use weir_protocol::{
    Datatype, InferRequest, InferResponse, OipError, Priority, Reason, Refusal,
    codec::{self, CodecLimits, Encoded, RawInput},
    headers,
    rest::Target,
};

use super::{
    body, budget,
    calls::{BodyState, Inbound},
    coding::Coding,
    head,
    inflate::{self, Bounds},
    respond,
};
use crate::{
    infer::{
        self, Call, Rejection, Timings,
        admission::{self, Admitted},
    },
    model::ModelSpec,
    server::Worker,
};

/// Weight of a byte to compress beside a byte of text to write. Compression runs at 165 MB/s, so what the front does
/// itself stays below 2 ms.
const COMPRESSION_WEIGHT: usize = 4;

/// What a request's head says about its body, its answer and its time.
struct Head {
    /// How the body is compressed.
    coding: Option<Coding>,
    /// How the answer is to be compressed.
    wished: Option<Coding>,
    /// Length of the JSON part; 0 = there is none, the body is the only input's data.
    json_len: Option<usize>,
    deadline: Option<Duration>,
    /// How long other workers had the request before.
    waited: Duration,
    priority: Option<Priority>,
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
    let from_gateway = inbound.gateway_id().is_some();
    let mut admitted = admission::admit(worker, target, from_gateway)?;
    let result = read_and_run(worker, inbound, &admitted, &head).await;
    admitted.record(worker, result.as_ref().map(|(_, timings)| timings));
    let mut response = match result {
        Ok((encoded, _)) => respond::answered(encoded, head.wished),
        Err(rejection) => respond::rejected(&rejection, inbound.trusted),
    };
    respond::served(&mut response, &admitted.served(worker));
    Ok(response)
}

/// Everything that the head alone tells.
fn read_head(worker: &Worker, inbound: &Inbound) -> Result<Head, Rejection> {
    let map = &inbound.parts.headers;
    let (coding, wished) = (Coding::of_request(map)?, Coding::wished(map));
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
    let waited = head::waited(map, inbound.trusted)?;
    let priority = head::priority(map, inbound.trusted)?;
    Ok(Head { coding, wished, json_len, deadline, waited, priority })
}

async fn read_and_run(
    worker: &Worker,
    inbound: &mut Inbound,
    admitted: &Admitted,
    head: &Head,
) -> Result<(Encoded, Timings), Rejection> {
    admitted.check_queue(head.deadline, head.waited)?;
    let limits = &worker.config.limits;
    let BodyState::Unread(body) = std::mem::replace(&mut inbound.body, BodyState::Broken) else {
        return Err(OipError::new(Reason::Internal, "the body was read before").into());
    };
    let mut share = worker.bodies.share();
    let mut body = body::read(body, limits.body_bytes.as_usize(), limits.body_timeout, &mut share).await?;
    inbound.body = BodyState::Read;
    let received = worker.clock.now();
    if let Some(coding) = head.coding {
        let bounds = Bounds { bytes: limits.body_bytes.as_usize(), factor: limits.inflate_factor };
        // The compressed body gives its bytes back once it is inflated.
        (body, share) = inflate::inflate(body, coding, bounds, worker.bodies.share()).await?;
    }
    // Held to the end of this function, for tensors made from JSON, and for as long as anybody has a piece of the body.
    let share = Arc::new(share);
    let body = budget::hold(body, &share);
    let (json_len, codec_limits, spec) = (head.json_len, worker.codec_limits, admitted.queue.spec());
    let call = Call {
        deadline: head.deadline,
        waited: head.waited,
        priority: head.priority,
        received,
        clock: worker.clock,
        text_bytes: text_bytes(spec, body.len(), json_len),
    };
    let decode = move |spec: &ModelSpec| decode(spec, &body, json_len, &codec_limits);
    let answered = infer::run(&admitted.queue, call, decode).await?;
    let wished = head.wished;
    let text_bytes = answered.text_bytes() + wished.map_or(0, |_| COMPRESSION_WEIGHT * answered.bytes());
    answered.write(worker.clock, text_bytes, move |response| encode(&response, wished)).await
}

/// Bytes of a body that are looked at one by one: JSON, and elements of BYTES, whose lengths stand among them.
fn text_bytes(spec: &ModelSpec, body: usize, json_len: Option<usize>) -> usize {
    let has_bytes = spec.inputs.iter().any(|input| input.datatype == Datatype::Bytes);
    json_len.filter(|_| !has_bytes).unwrap_or(body)
}

fn decode(
    spec: &ModelSpec,
    body: &Bytes,
    json_len: Option<usize>,
    limits: &CodecLimits,
) -> Result<InferRequest, OipError> {
    if json_len != Some(0) {
        return codec::decode_request(body, json_len, limits);
    }
    // Masks are made where they are not brought.
    let mut needed = spec.inputs.iter().filter(|input| input.padding != Padding::Mask);
    let (Some(input), None) = (needed.next(), needed.next()) else {
        return Err(OipError::bad_request(format!(
            "a request without JSON (Inference-Header-Content-Length: 0) is for models with one input, this one has {}: \
             send the JSON part",
            spec.inputs.len()
        )));
    };
    let (datatype, batched) = (input.datatype, spec.batched);
    codec::decode_raw(body, &RawInput { name: &input.name, datatype, shape: &input.shape, batched })
}

fn encode(response: &InferResponse, wished: Option<Coding>) -> Result<Encoded, OipError> {
    let Encoded { body, json_len } = codec::encode_response(response)?;
    let body = wished.map_or_else(|| Ok(body.clone()), |coding| coding.compress(&body))?;
    Ok(Encoded { body, json_len })
}
