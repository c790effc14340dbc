//! ModelStreamInfer: requests one after the other, answered in their order.
//!
//! Requests of one stream run beside each other, up to a window, so that they can share a batch. One that fails is
//! answered with its error and the stream goes on. Dropping the answer's body, as happens when the client cancels,
//! drops every request in flight.

use std::sync::Arc;

use futures_util::{Stream, StreamExt, future::Either, stream};
use weir_protocol::{
    OipError, Reason, Refusal,
    grpc::{ModelInferResponse, ModelStreamInferResponse},
};

use super::{
    answer::{self, Part, Response},
    coding::Coding,
    inbound::{Inbound, Terms},
    inference::{self, Asked, Ended},
    messages::{Message, Messages},
    tensors,
};
use crate::{
    infer::{Rejection, admission},
    server::Worker,
    shutdown::Phase,
    tasks::Tasks,
};

/// Parameter of a response: whether it is the last one of its request.
const IS_FINAL: &str = "triton_final_response";

/// Answers ModelStreamInfer. What its client still sends when it ends is thrown away by one of `tasks`.
pub(super) fn answer(
    worker: &Arc<Worker>,
    inbound: &Inbound,
    terms: Terms,
    messages: Messages,
    tasks: &Tasks,
) -> Response {
    if let Err(rejection) = check(worker, &terms) {
        worker.telemetry.record_error(None, rejection.error.reason);
        admission::count(worker, &rejection);
        // Not before the answer: a client that waits for the first response sends nothing more.
        messages.drain_beside(worker, tasks);
        return answer::rejected(&rejection, inbound.trusted);
    }
    let coding = terms.answers;
    let served = terms.route.as_ref().map(|route| {
        let name = &worker.config.worker.name;
        format!("{};{};{name}", route.model, route.version)
    });
    let parts = parts(Arc::clone(worker), terms, messages, tasks.clone());
    let mut response = answer::stream(parts, coding);
    if let Some(served) = served {
        answer::served(&mut response, &served);
    }
    response
}

/// Whether the stream may begin. Said at once, so that a gateway can try another worker.
fn check(worker: &Worker, terms: &Terms) -> Result<(), Rejection> {
    if worker.shutdown.phase() != Phase::Running {
        return Err(Rejection::refused(Refusal::Draining));
    }
    let Some(route) = &terms.route else { return Ok(()) };
    let resolved = worker.store.resolve(&route.model, Some(&route.version.into()));
    resolved.map(drop).map_err(|unresolved| terms.unresolved(&unresolved))
}

/// What comes from the client.
enum Inflow {
    /// A request.
    Message(Message),
    /// The end: the client's, or that of the stream for a reason.
    End(Option<Rejection>),
}

/// The answers of a stream and its end.
fn parts(
    worker: Arc<Worker>,
    terms: Terms,
    messages: Messages,
    tasks: Tasks,
) -> impl Stream<Item = Part> + Send + 'static {
    let (window, coding) = (worker.config.limits.stream_window, terms.answers);
    let terms = Arc::new(terms);
    let inflow = inflow(Arc::clone(&worker), Arc::clone(&terms), messages, tasks);
    let part = move |inflow| {
        let (worker, terms) = (Arc::clone(&worker), Arc::clone(&terms));
        async move {
            match inflow {
                Inflow::Message(message) => one(&worker, &terms, message, coding).await,
                Inflow::End(None) => Part::End(answer::ok()),
                Inflow::End(Some(rejection)) => {
                    worker.telemetry.record_error(None, rejection.error.reason);
                    // No refusal, whatever it is for one message: the stream was begun.
                    Part::End(answer::status(&rejection, false))
                }
            }
        }
    };
    inflow.map(part).buffered(window)
}

/// Reads requests until the client ends, the worker drains or the deadline passes; the last item is the end.
fn inflow(
    worker: Arc<Worker>,
    terms: Arc<Terms>,
    messages: Messages,
    tasks: Tasks,
) -> impl Stream<Item = Inflow> + Send {
    let next = move |messages: Option<Messages>| {
        let (worker, terms, tasks) = (Arc::clone(&worker), Arc::clone(&terms), tasks.clone());
        async move {
            let mut messages = messages?;
            let end = tokio::select! {
                biased;
                end = ended(&worker, &terms) => end,
                message = messages.next() => match message {
                    Ok(Some(message)) => return Some((Inflow::Message(message), Some(messages))),
                    Ok(None) => return Some((Inflow::End(None), None)),
                    Err(rejection) => {
                        admission::count(&worker, &rejection);
                        rejection
                    }
                },
            };
            // Beside the answer: what the client still sends must not break the stream before its end is there.
            messages.drain_beside(&worker, &tasks);
            Some((Inflow::End(Some(end)), None))
        }
    };
    stream::unfold(Some(messages), next)
}

/// Waits until a stream has to end although its client goes on.
async fn ended(worker: &Worker, terms: &Terms) -> Rejection {
    let late = match terms.deadline {
        Some(deadline) => Either::Left(tokio::time::sleep(deadline.saturating_sub(worker.clock.now()))),
        None => Either::Right(std::future::pending()),
    };
    tokio::select! {
        () = worker.shutdown.reached(Phase::Draining) => {
            let message = "the worker is shutting down: open the stream again for what was not answered";
            OipError::new(Reason::Draining, message).into()
        }
        () = late => Rejection::late(),
    }
}

/// Answers one request of a stream.
async fn one(worker: &Worker, terms: &Terms, message: Message, coding: Option<Coding>) -> Part {
    let write = move |asked: &Asked, response| responses(asked, response, coding);
    let Ended { asked, result, .. } = inference::run(worker, terms, message, write).await;
    let failed = |rejection: Rejection| {
        let infer_response = ModelInferResponse { id: asked.id, ..Default::default() };
        let message = ModelStreamInferResponse {
            error_message: rejection.error.message,
            infer_response: Some(infer_response),
        };
        answer::framed(&message, coding)
    };
    match result.or_else(failed) {
        Ok(messages) => Part::Messages(messages),
        // Only a message of 4 GiB or more cannot be framed; an error has none.
        Err(error) => Part::End(answer::status(&error.into(), false)),
    }
}

/// The framed messages that answer a request.
fn responses(
    asked: &Asked,
    mut response: ModelInferResponse,
    coding: Option<Coding>,
) -> Result<bytes::Bytes, OipError> {
    let last = asked.wants_final.then(|| ModelInferResponse {
        model_name: response.model_name.clone(),
        model_version: response.model_version.clone(),
        id: response.id.clone(),
        parameters: [(IS_FINAL.to_owned(), tensors::flag(true))].into(),
        ..Default::default()
    });
    if last.is_some() {
        response.parameters.insert(IS_FINAL.to_owned(), tensors::flag(false));
    }
    let mut buffer = Vec::new();
    for response in [Some(response), last].into_iter().flatten() {
        let message =
            ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) };
        answer::append(&mut buffer, &message, coding)?;
    }
    Ok(buffer.into())
}
