//! What happens when an attempt fails: another worker, or the end of the request.
//!
//! An attempt is repeated while no byte of an answer went to the client, the body can be sent again, attempts and
//! time are left, and a worker is left that was not tried. A refusal (the worker did not start) follows the same
//! path. The next worker is chosen here, so that "may be repeated" and "was given a worker" cannot disagree.

use std::time::Duration;

use pingora::{Error, ErrorSource, ErrorType, Result, http::ResponseHeader, proxy::Session};
use weir_protocol::{OipError, Reason, Refusal, WorkerId, headers};

use super::{context::Context, grpc, peer, respond};
use crate::telemetry::AttemptOutcome;

/// The error type under which a refusal travels through pingora.
const REFUSED: ErrorType = ErrorType::Custom("refused by the worker");

/// The error type of an answer that is none.
const NO_ANSWER: ErrorType = ErrorType::Custom("not an answer to this request");

/// The worker's reason not to start the request, if its answer is a refusal.
pub(super) fn refusal(response: &ResponseHeader) -> Option<Refusal> {
    let value = response.headers.get(headers::REFUSED)?;
    value.to_str().ok().and_then(Refusal::from_name)
}

/// Refuses an answer that no request of ours asks for: the connection would stop being HTTP, or a gRPC call came to
/// something that is no gRPC server.
pub(super) fn check_answer(response: &ResponseHeader, ctx: &Context) -> Result<()> {
    let wrong = response.status == http::StatusCode::SWITCHING_PROTOCOLS
        || ctx.grpc.spoken && !grpc::is_answer(response);
    if wrong { Err(Error::new_up(NO_ANSWER)) } else { Ok(()) }
}

/// A worker refused. Answers the error that makes pingora begin another attempt, or `None` when the refusal is to be
/// passed on to the client.
pub(super) fn after_refusal(
    session: &Session,
    ctx: &mut Context,
    response: &ResponseHeader,
) -> Option<Box<Error>> {
    end_attempt(ctx);
    // The deadline may be one that only the worker knows, from within the body: nobody else can meet it.
    let over = response.headers.get(headers::REASON).is_some_and(|why| why == Reason::Deadline.name());
    if over || !next_attempt(session, ctx) {
        return None;
    }
    let mut error = Error::new_up(REFUSED);
    error.set_retry(true);
    Some(error)
}

/// An attempt could not connect. The error comes back marked for another attempt, or not.
pub(super) fn after_connect_failure(
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
) -> Box<Error> {
    let late = ctx.deadline.passed();
    // A connection that stood may have gone the moment it was used: nothing was sent, so any worker will do.
    let stale = matches!(error.etype(), ErrorType::H2Error);
    let ours = !late && !stale && !blames_worker(&error, ctx);
    let worker = end_attempt(ctx);
    let again = !ours && (next_attempt(session, ctx) || stale && same_again(session, ctx, worker));
    if !again {
        ctx.failure = Some(match (late, ours) {
            (true, _) => ctx.deadline.missed(),
            (_, true) => {
                OipError::new(Reason::Overloaded, "the gateway cannot open a connection; try again later")
            }
            _ => worker_failed(ctx, "could not be reached"),
        });
    }
    error.set_retry(again);
    error
}

/// An attempt broke after its connection stood. `reused`: the connection had served a request before.
pub(super) fn after_break(
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    // `retry()` panics while the decision is open.
    error.retry.decide_reuse(reused);
    if ctx.attempts.next.is_some() {
        error.set_retry(true);
        return error;
    }
    error.set_retry(false);
    // Only the worker's side can be mended by another worker.
    if *error.esource() != ErrorSource::Upstream || ctx.failure.is_some() {
        return error;
    }
    let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    let worker = end_attempt(ctx);
    if timed_out && ctx.deadline.passed() {
        ctx.failure = Some(ctx.deadline.missed());
        return error;
    }
    if timed_out && ctx.grpc.is_stream() {
        let message = "the worker was silent for too long (timeouts.stream_idle); open the stream again";
        ctx.failure = Some(OipError::new(Reason::WorkerFailed, message));
        return error;
    }
    if next_attempt(session, ctx) {
        error.set_retry(true);
        return error;
    }
    // A connection that had idled may have been closed by a healthy worker just as it was used again.
    if reused && same_again(session, ctx, worker) {
        error.set_retry(true);
        return error;
    }
    let what =
        if *error.etype() == NO_ANSWER { "does not speak this protocol" } else { "broke the connection" };
    ctx.failure = Some(worker_failed(ctx, what));
    error
}

/// Whether the worker that an attempt just failed at may be tried again; if so it is chosen.
fn same_again(session: &Session, ctx: &mut Context, worker: Option<WorkerId>) -> bool {
    let Some(last) = worker else { return false };
    ctx.attempts.tried.retain(|id| *id != last);
    next_attempt(session, ctx)
}

/// Whether a failed connect says something about the worker, and not about this process or the request: sockets that
/// cannot be made (too many open files) and deadlines that are over do not.
pub(super) fn blames_worker(error: &Error, ctx: &Context) -> bool {
    use ErrorType::{ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, HandshakeError};
    matches!(error.etype(), ConnectError | ConnectNoRoute | ConnectRefused | ConnectTimedout | HandshakeError)
        && !ctx.deadline.passed()
}

/// What kind of failure an attempt ended with, for metrics.
pub(super) fn outcome(error: &Error) -> AttemptOutcome {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => AttemptOutcome::TimedOut,
        _ => AttemptOutcome::Broke,
    }
}

/// Gives the lease back and remembers the worker as tried.
fn end_attempt(ctx: &mut Context) -> Option<WorkerId> {
    let lease = ctx.attempts.current.take()?;
    ctx.attempts.spent += ctx.attempts.started.map_or(Duration::ZERO, |at| at.elapsed());
    let id = lease.endpoint().spec.id.clone();
    ctx.attempts.tried.push(id.clone());
    Some(id)
}

/// Whether another attempt may be made; if so its worker is chosen.
fn next_attempt(session: &Session, ctx: &mut Context) -> bool {
    let limits = &ctx.snapshot.config.limits;
    let allowed = ctx.attempts.begun < limits.attempts
        && !respond::begun(session)
        && !ctx.deadline.passed()
        && ctx.body.replayable(session);
    if !allowed {
        return false;
    }
    ctx.attempts.next = peer::choose(ctx).ok();
    ctx.attempts.next.is_some()
}

fn worker_failed(ctx: &Context, what: &str) -> OipError {
    let worker = ctx.attempts.last.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let tried = ctx.attempts.begun;
    OipError::new(
        Reason::WorkerFailed,
        format!("worker '{worker}' {what}; the request ended after {tried} attempt(s)"),
    )
}

#[cfg(test)]
mod tests;
