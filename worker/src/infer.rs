//! One inference, from body to body: decode, check against the model, queue, await, encode.
//!
//! Knows the protocol's types but no HTTP; `http` calls it once the body is there. Dropping the future is how a client
//! that hung up cancels its request: the reply channel closes with it and the ticket leaves the queue.

mod bind;
mod rejection;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, task::spawn_blocking};
use weir_batching::Ticket;
use weir_protocol::{
    InferResponse, OipError, Reason, Refusal, Tensor,
    codec::{self, CodecLimits, Encoded},
    infer::OutputTensor,
};

use self::bind::Bound;
pub use self::rejection::Rejection;
use crate::{
    clock::Clock,
    model::{
        ModelSpec,
        lanes::{Done, Job, JobError, Lanes},
    },
};

/// JSON above this is read and written on a thread of its own: 1 MiB takes milliseconds, during which the front
/// would answer nobody else.
const INLINE_JSON_BYTES: usize = 1 << 20;

/// An inference to run.
#[derive(Debug)]
pub struct Call {
    /// The whole request body.
    pub body: Bytes,
    /// Value of `Inference-Header-Content-Length`.
    pub json_len: Option<usize>,
    /// Bounds on decoding.
    pub limits: CodecLimits,
    /// When the answer stops being useful, on `clock`; the body may name an earlier time.
    pub deadline: Option<Duration>,
    /// When the body was complete, on `clock`.
    pub received: Duration,
    /// The time.
    pub clock: Clock,
}

/// An inference that succeeded.
#[derive(Debug)]
pub struct Answered {
    /// The response body.
    pub encoded: Encoded,
    /// The worker's own share of the time since the body was complete: queue and forward excluded.
    pub overhead: Duration,
}

/// Runs one inference on a version's lanes.
///
/// # Errors
/// Everything that is wrong with the request, refusals, and failures of the model.
pub async fn run(lanes: &Lanes, call: Call) -> Result<Answered, Rejection> {
    let Call { body, json_len, limits, received, clock, .. } = call;
    let spec = lanes.spec();
    let bound = {
        let (json_bytes, spec) = (json_len.unwrap_or(body.len()), Arc::clone(spec));
        offload(json_bytes, move || bind::bind(&spec, codec::decode_request(&body, json_len, &limits)?))
            .await??
    };
    let own = bound.timeout.map(|timeout| received.saturating_add(timeout));
    let deadline = call.deadline.into_iter().chain(own).min();
    let Bound { answer, rows, shape, inputs, shapes, .. } = bound;
    let (reply, result) = oneshot::channel();
    let job = Job { inputs, shapes, arrived: clock.now(), reply };
    lanes.admit(Ticket { rows, shape, deadline, payload: job }).map_err(|r| Rejection::refused(r.refusal))?;
    let done = until(deadline, clock, result).await?;
    let own_time = done.waited.saturating_add(done.forward);
    let encoded = encode(spec, answer, done).await?;
    let overhead = clock.now().saturating_sub(received).saturating_sub(own_time);
    Ok(Answered { encoded, overhead })
}

/// What of a request is needed to answer it.
#[derive(Debug)]
struct AnswerForm {
    id: Option<String>,
    /// Index into the model's outputs, and whether it travels in binary form.
    outputs: Vec<(usize, bool)>,
}

/// Awaits the reply until the deadline.
async fn until(
    deadline: Option<Duration>,
    clock: Clock,
    result: oneshot::Receiver<Result<Done, JobError>>,
) -> Result<Done, Rejection> {
    let reply = match deadline {
        None => result.await,
        Some(deadline) => {
            let left = deadline.saturating_sub(clock.now());
            tokio::time::timeout(left, result).await.map_err(|_| Rejection::late())?
        }
    };
    // Lanes drop a reply channel without an answer only when they end before their queue is empty: never.
    let gone = |_| OipError::new(Reason::Internal, "the model went away before it answered");
    reply.map_err(gone)?.map_err(|error| match error {
        JobError::Expired => Rejection::refused(Refusal::Deadline),
        JobError::Failed(why) => {
            OipError::new(Reason::ModelFailed, format!("the model failed: {why}")).into()
        }
    })
}

async fn encode(spec: &ModelSpec, form: AnswerForm, done: Done) -> Result<Encoded, OipError> {
    let mut json_bytes = 0;
    let output = |(index, binary): (usize, bool)| {
        let (spec, (shape, data)) = (spec.outputs.get(index)?, done.outputs.get(index)?);
        json_bytes += if binary { 0 } else { data.len() };
        // Lanes checked the shape: no dimension is negative.
        let shape = shape.iter().map(|dim| dim.unsigned_abs()).collect();
        let tensor = Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: data.clone() };
        Some(OutputTensor { tensor, binary })
    };
    let outputs = form.outputs.into_iter().filter_map(output).collect();
    let (model_name, model_version) = (spec.name.to_string(), spec.version.to_string());
    let parameters = Default::default();
    let response = InferResponse { model_name, model_version, id: form.id, parameters, outputs };
    offload(json_bytes, move || codec::encode_response(&response)).await?
}

/// Runs `work` here when it is about little JSON, else on a thread where it holds nobody up.
async fn offload<T: Send + 'static>(
    json_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OipError> {
    if json_bytes <= INLINE_JSON_BYTES {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "reading or writing a body panicked");
        OipError::new(Reason::Internal, "internal error; see the worker's log")
    })
}

#[cfg(test)]
mod tests;
