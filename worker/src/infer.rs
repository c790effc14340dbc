//! One inference, from a decoded request to its response: check against the model, queue, await.
//!
//! Shared by every front. A front asks `admission` first, then says how its bodies are read and written; nothing here
//! knows HTTP or gRPC. Dropping the future is how a client that hung up cancels its request: the reply channel closes
//! with it and the ticket leaves the queue.

pub mod admission;
mod bind;
mod rejection;
mod split;
mod timings;

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{sync::oneshot, task::spawn_blocking};
use weir_batching::Ticket;
use weir_protocol::{
    InferRequest, InferResponse, OipError, Priority, Reason, Refusal, Tensor,
    infer::{OutputTensor, Parameters},
};

use self::bind::Bound;
pub use self::{rejection::Rejection, timings::Timings};
use crate::{
    clock::Clock,
    lanes::{Done, JobError, Part, Queue},
    model::ModelSpec,
};

/// Text above this is read and written on a thread of its own: 1 MiB takes milliseconds, during which the front
/// would answer nobody else.
const INLINE_TEXT_BYTES: usize = 1 << 20;

/// When an inference came, how long its answer is useful, and how much work it is to read.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When the answer stops being useful, on `clock`; the request itself or its model may name an earlier time.
    pub deadline: Option<Duration>,
    /// How long other workers had the request before; what the request and its model allow is less by that.
    pub waited: Duration,
    /// How urgent its head says that it is; the request itself may say otherwise.
    pub priority: Option<Priority>,
    /// When the request was complete, on `clock`.
    pub received: Duration,
    /// The time.
    pub clock: Clock,
    /// Bytes that decoding looks at one by one: JSON, typed contents, compressed data. Raw tensors are not among them.
    pub text_bytes: usize,
}

/// An inference that succeeded.
#[derive(Debug)]
pub struct Answered {
    /// The response.
    pub response: InferResponse,
    /// Where its time went so far.
    pub timings: Timings,
}

/// Runs one inference through a version's queue. `decode` reads the request, on another thread when there is much text.
///
/// # Errors
/// Everything that is wrong with the request, refusals, and failures of the model.
pub async fn run(
    queue: &Queue,
    call: Call,
    decode: impl FnOnce(&ModelSpec) -> Result<InferRequest, OipError> + Send + 'static,
) -> Result<Answered, Rejection> {
    let Call { deadline, waited, priority, received, clock, text_bytes } = call;
    let spec = queue.spec();
    let bound = {
        let spec = Arc::clone(spec);
        offload(text_bytes, move || bind::bind(&spec, decode(&spec)?)).await??
    };
    let Bound { answer, whole, shape, wishes } = bound;
    let deadline = spec.terms.deadline((received, waited), deadline, wishes.timeout);
    let class = spec.terms.class(wishes.priority.or(priority));
    let rows = whole.rows;
    let arrived = clock.now();
    let ticket = |part: Part| {
        let (reply, result) = oneshot::channel();
        let (rows, shape) = (part.rows, shape.clone());
        let payload = queue.job(part, reply);
        (Ticket { rows, units: rows, shape, class, deadline, payload }, result)
    };
    let (tickets, replies): (_, Vec<_>) = split::split(spec, whole).into_iter().map(ticket).unzip();
    let admitted = queue.admit(tickets).map_err(|refused| refused.refusal);
    let quoted = admitted.map_err(|refusal| admission::refused(queue, refusal, deadline, clock))?;
    let done = until(deadline, clock, replies).await;
    let parts = done.map_err(|rejection| admission::advised(queue, rejection))?;
    // The part that ended last: all time until its forward pass counts as waiting, that of earlier parts too.
    let last = parts
        .iter()
        .map(|part| (part.waited, part.forward))
        .max_by_key(|(waited, forward)| *waited + *forward);
    let (waited, compute_infer) = last.unwrap_or_default();
    let response = respond(spec, answer, &parts)?;
    let total = clock.now().saturating_sub(received);
    let compute_input = arrived.saturating_sub(received);
    let compute_output =
        total.saturating_sub(compute_input).saturating_sub(waited).saturating_sub(compute_infer);
    let timings = Timings {
        rows,
        parts: parts.len(),
        quoted,
        compute_input,
        queue: waited,
        compute_infer,
        compute_output,
        total,
    };
    Ok(Answered { response, timings })
}

impl Answered {
    /// Writes the response, on another thread when there is much text to write, and takes the time.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn write<T: Send + 'static>(
        self,
        clock: Clock,
        text_bytes: usize,
        write: impl FnOnce(InferResponse) -> Result<T, OipError> + Send + 'static,
    ) -> Result<(T, Timings), Rejection> {
        let Self { response, mut timings } = self;
        let began = clock.now();
        let written = offload(text_bytes, move || write(response)).await??;
        timings.wrote(clock.now().saturating_sub(began));
        Ok((written, timings))
    }

    /// Bytes of all outputs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.response.outputs.iter().map(|output| output.tensor.data.len()).sum()
    }

    /// Bytes of the outputs that are to be written as text.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let text = |output: &&OutputTensor| !output.binary;
        self.response.outputs.iter().filter(text).map(|output| output.tensor.data.len()).sum()
    }
}

/// What of a request is needed to answer it.
#[derive(Debug)]
struct AnswerForm {
    id: Option<String>,
    /// Index into the model's outputs, and whether it travels in binary form.
    outputs: Vec<(usize, bool)>,
}

/// Where the answer to a request, or to a part of one, comes from.
type Reply = oneshot::Receiver<Result<Done, JobError>>;

/// Awaits all parts of a request until the deadline. The first that fails speaks for the request: dropping the replies of
/// the others takes those out of the queue.
async fn until(
    deadline: Option<Duration>,
    clock: Clock,
    replies: Vec<Reply>,
) -> Result<Vec<Done>, Rejection> {
    let is_split = replies.len() > 1;
    let all = try_join_all(replies.into_iter().map(answer));
    let answered = match deadline {
        None => all.await,
        Some(deadline) => {
            let left = deadline.saturating_sub(clock.now());
            tokio::time::timeout(left, all).await.map_err(|_| Rejection::late())?
        }
    };
    // A refusal says that nothing was started, and another part may have been.
    let is_partly_run = |rejection: &Rejection| is_split && rejection.refusal.is_some();
    answered.map_err(|rejection| if is_partly_run(&rejection) { Rejection::late() } else { rejection })
}

/// Awaits one part.
async fn answer(reply: Reply) -> Result<Done, Rejection> {
    // Lanes drop a reply channel without an answer only when they panic outside a forward pass: never.
    let gone = |_| OipError::new(Reason::Internal, "the model went away before it answered");
    reply.await.map_err(gone)?.map_err(|error| match error {
        JobError::Expired => Rejection::expired(),
        JobError::Hopeless => Rejection::refused(Refusal::Deadline),
        JobError::Late => Rejection::late(),
        JobError::Failed(why) => {
            OipError::new(Reason::ModelFailed, format!("the model failed: {why}")).into()
        }
    })
}

/// The response of what the lanes gave for all parts of a request.
fn respond(spec: &ModelSpec, form: AnswerForm, parts: &[Done]) -> Result<InferResponse, OipError> {
    let output = |(index, binary): (usize, bool)| {
        let spec = spec.outputs.get(index)?;
        let parts: Vec<_> = parts.iter().filter_map(|part| part.outputs.get(index)).collect();
        let joined = split::join(&parts).map(|(shape, data)| {
            // Lanes checked the shape: no dimension is negative.
            let shape = shape.iter().map(|dim| dim.unsigned_abs()).collect();
            let tensor = Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data };
            OutputTensor { tensor, binary }
        });
        Some(joined.ok_or_else(|| {
            let message = format!("output '{}' has other sizes in one batch than in the next", spec.name);
            OipError::new(Reason::ModelFailed, message)
        }))
    };
    let outputs = form.outputs.into_iter().filter_map(output).collect::<Result<_, _>>()?;
    let (model_name, model_version) = (spec.name.to_string(), spec.version.to_string());
    Ok(InferResponse { model_name, model_version, id: form.id, parameters: Parameters::new(), outputs })
}

/// Runs `work` here when it is about little text, else on a thread where it holds nobody up.
pub(crate) async fn offload<T: Send + 'static>(
    text_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OipError> {
    if text_bytes <= INLINE_TEXT_BYTES {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "reading or writing a body panicked");
        OipError::new(Reason::Internal, "internal error; see the worker's log")
    })
}

#[cfg(test)]
mod tests;
