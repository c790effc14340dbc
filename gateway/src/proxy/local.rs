//! What happens to a request before a worker is involved: checks, answers of the gateway's own, body, admission,
//! first choice. And the ways in which it can end here.

use bytes::Bytes;
use pingora::{Error, ErrorSource, ErrorType, Result, proxy::Session};
use serde::Serialize;
use weir_config::gateway::Timeouts;
use weir_protocol::{ModelName, OipError, Reason, openapi, rest::RestCall};

use super::{
    Proxy,
    body::{Body, BodyError, HoldLimits},
    classify::{self, Asked},
    context::{Context, Deadline},
    overloaded, peer,
    respond::{self, Answer},
};
use crate::registry::Snapshot;

/// Why a request goes no further.
pub(super) enum Stop {
    /// It is answered with an error; the connection stays usable.
    Refuse(OipError),
    /// It is answered with an error and the connection is closed.
    Close(OipError),
    /// Nobody is left to answer.
    Gone(Box<Error>),
}

impl From<OipError> for Stop {
    fn from(error: OipError) -> Self {
        Self::Refuse(error)
    }
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a ModelName,
    ready: bool,
}

impl Proxy {
    /// Takes a request up to its first chosen worker (`None`), or to the gateway's own answer.
    pub(super) async fn prepare(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Option<Answer>, Stop> {
        let snapshot = ctx.snapshot.clone();
        let limits = &snapshot.config.limits;
        let request = session.req_header();
        ctx.request_id = classify::request_id(&request.headers);
        Self::limit_idle(session, &snapshot.config.timeouts);
        let request = session.req_header();
        classify::check_framing(session, limits).map_err(Stop::Close)?;
        if let Some(timeout) =
            classify::client_timeout(&request.headers)?.filter(|t| *t < ctx.deadline.left())
        {
            ctx.deadline = Deadline { at: ctx.arrived + timeout, from_client: true };
        }
        let path = request.uri.path();
        let call = RestCall::parse(request.method.as_str(), path)?;
        if let Some(answer) = self.own_answer(&call)? {
            return Ok(Some(answer));
        }
        let length = classify::body_length(&request.headers, limits)?;
        let asked = classify::resolve(&snapshot, request, call)?;
        if let RestCall::ModelReady(target) = &asked.call {
            return model_ready(&snapshot, &asked, &target.model).map(Some).map_err(Stop::Refuse);
        }
        ctx.asked = Some(asked);
        self.hold_body(session, ctx, length).await?;
        let permit = self.registry.admission().admit();
        ctx.permit = Some(permit.ok_or_else(|| overloaded(limits.in_flight))?);
        ctx.attempts.next = Some(peer::choose(ctx)?);
        Ok(None)
    }

    /// Bounds how long the client may be silent in its body, and idle before its next request. A connection that the
    /// client or its framing has marked for closing stays marked.
    fn limit_idle(session: &mut Session, timeouts: &Timeouts) {
        session.set_read_timeout(Some(timeouts.idle));
        session.set_write_timeout(Some(timeouts.idle));
        session.set_total_drain_timeout(Some(respond::DRAIN_TIME));
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(timeouts.keep_alive.as_secs().max(1)));
        }
    }

    fn own_answer(&self, call: &RestCall) -> Result<Option<Answer>, OipError> {
        match call {
            RestCall::Live => Ok(Some(Answer::json(&Live { live: true }))),
            RestCall::Ready if self.registry.ready() => Ok(Some(Answer::json(&Ready { ready: true }))),
            RestCall::Ready => Err(OipError::new(
                Reason::NotReady,
                "the gateway is starting or stopping; see GET /v1/workers of the admin API",
            )),
            RestCall::ServerMetadata => Ok(Some(Answer::json(&respond::server_metadata()))),
            RestCall::OpenApi => Ok(Some(Answer::document(openapi::DOCUMENT))),
            RestCall::Load => Err(OipError::new(
                Reason::PathNotFound,
                "no such path: load reports are between workers and gateways; see the admin API",
            )),
            RestCall::ModelMetadata(_) | RestCall::ModelReady(_) | RestCall::Infer(_) => Ok(None),
            _ => Err(OipError::new(Reason::Unsupported, "not offered yet")),
        }
    }

    async fn hold_body(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        length: Option<u64>,
    ) -> Result<(), Stop> {
        let config = &ctx.snapshot.config;
        let expects =
            session.get_header("expect").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if expects {
            respond::go_on(session).await.map_err(Stop::Gone)?;
        }
        let limits = HoldLimits {
            replay: config.limits.replay_bytes.0,
            total: config.limits.replay_total_bytes.0,
            within: config.timeouts.body.min(ctx.deadline.left()),
        };
        ctx.body =
            Body::read_ahead(session, length, &self.held, &limits).await.map_err(|error| match error {
                BodyError::TooSlow => Stop::Close(too_slow()),
                BodyError::Gone(error) => Stop::Gone(error),
            })?;
        Ok(())
    }
}

/// Ready = a worker could be sent a request for it now.
fn model_ready(snapshot: &Snapshot, asked: &Asked, name: &ModelName) -> Result<Answer, OipError> {
    let pool = snapshot.directory.resolve(&asked.model, Some(asked.version), &asked.labels);
    match pool {
        Ok((_, pool)) if pool.eligible(&asked.labels) > 0 => {
            Ok(Answer::json(&ModelReady { name, ready: true }))
        }
        _ => Err(classify::not_ready(name)),
    }
}

/// Watches over a body that passes through: ends the request when it is above the limit, or still coming when the
/// time for the whole request is over.
pub(super) fn watch_body(ctx: &mut Context, chunk: Option<&Bytes>, end: bool) -> Result<()> {
    ctx.body_sent += chunk.map_or(0, |chunk| chunk.len() as u64);
    let limits = &ctx.snapshot.config.limits;
    if ctx.body_sent > limits.body_bytes.0 {
        ctx.failure = Some(classify::too_large(limits));
        return Error::e_explain(ErrorType::InternalError, "the body is above limits.body_bytes");
    }
    if !end && ctx.deadline.left().is_zero() {
        ctx.failure = Some(too_slow());
        return Error::e_explain(ErrorType::InternalError, "the deadline passed within the body");
    }
    Ok(())
}

/// Breaks off an answer that is still coming when the time for the whole request is over.
pub(super) fn watch_answer(ctx: &mut Context, end: bool) -> Result<()> {
    if end || !ctx.deadline.left().is_zero() {
        return Ok(());
    }
    ctx.failure = Some(ctx.deadline.missed());
    Error::e_explain(ErrorType::InternalError, "the deadline passed within the answer")
}

/// What to tell a client whose own connection failed; `None` when it is gone.
pub(super) fn downstream_failure(error: &Error) -> Option<OipError> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(too_slow()),
        (
            ErrorSource::Downstream,
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed,
        ) => None,
        (ErrorSource::Downstream, _) => Some(OipError::bad_request("the request breaks the HTTP protocol")),
        _ => Some(OipError::new(Reason::Internal, "the gateway failed; its log says more")),
    }
}

fn too_slow() -> OipError {
    OipError::new(
        Reason::BodyTooSlow,
        "the body came too slowly (timeouts.body, timeouts.idle, timeouts.request)",
    )
}
