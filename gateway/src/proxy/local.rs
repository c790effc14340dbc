//! What happens to a request before a worker is involved: checks, answers of the gateway's own, body, admission,
//! first choice. And the ways in which it can end here.

use bytes::Bytes;
use pingora::{Error, ErrorSource, ErrorType, Result, proxy::Session};
use serde::Serialize;
use weir_config::gateway::Timeouts;
use weir_protocol::{ModelName, OipError, Reason, headers, openapi, rest::RestCall};

use super::{
    Proxy,
    body::{Body, BodyError, HoldLimits},
    classify,
    context::{Context, Deadline},
    fleet, grpc, json_scan,
    names::{self, Asked, Call, Names, Seen},
    overloaded, peer,
    respond::{self, Answer},
};
use crate::registry::Snapshot;

/// How a request goes on.
pub(super) enum Step {
    /// To the worker that was chosen.
    Forward,
    /// With the gateway's own answer.
    Answer(Answer),
    /// Not at all: it was answered already.
    Answered,
}

/// Why a request goes no further.
pub(super) enum Stop {
    /// It is answered with an error; the connection stays usable.
    Refuse(OipError),
    /// It is answered with an error and the connection is closed.
    Close(OipError),
    /// Nobody is left to answer.
    Gone(Box<Error>),
}

impl Stop {
    /// The same, or that the client's own deadline passed while its body was still coming: gRPC's clients know that as
    /// what they asked for.
    fn in_view_of(self, deadline: Deadline) -> Self {
        match self {
            Self::Close(error)
                if error.reason == Reason::BodyTooSlow && deadline.from_client && deadline.passed() =>
            {
                Self::Close(deadline.missed())
            }
            other => other,
        }
    }
}

impl From<OipError> for Stop {
    fn from(error: OipError) -> Self {
        Self::Refuse(error)
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow => Self::Close(too_slow()),
            BodyError::Gone(error) => Self::Gone(error),
        }
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
    /// Takes a request up to its first chosen worker, or to the gateway's own answer.
    pub(super) async fn prepare(&self, session: &mut Session, ctx: &mut Context) -> Result<Step, Stop> {
        let snapshot = ctx.snapshot.clone();
        let request = session.req_header();
        ctx.request_id = classify::request_id(&request.headers);
        ctx.grpc.spoken = grpc::spoken(request)?;
        Self::limit_idle(session, &snapshot.config.timeouts);
        classify::check_framing(session, &snapshot.config.limits).map_err(Stop::Close)?;
        let asked = classify::client_timeout(&session.req_header().headers)?;
        if let Some(timeout) = asked.filter(|timeout| *timeout < ctx.deadline.left()) {
            ctx.deadline = Deadline { at: Some(ctx.arrived + timeout), from_client: true };
        }
        ctx.priority = classify::client_priority(&session.req_header().headers)?;
        if ctx.grpc.spoken {
            let prepared = self.prepare_grpc(session, ctx, &snapshot).await;
            prepared.map_err(|stop| stop.in_view_of(ctx.deadline))
        } else {
            self.prepare_rest(session, ctx, &snapshot).await
        }
    }

    async fn prepare_rest(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        snapshot: &Snapshot,
    ) -> Result<Step, Stop> {
        let request = session.req_header();
        let call = RestCall::parse(request.method.as_str(), request.uri.path())?;
        if let Some(answer) = self.own_answer(session, ctx, &call).await? {
            return Ok(Step::Answer(answer));
        }
        let request = session.req_header();
        let length = classify::body_length(&request.headers, &snapshot.config.limits)?;
        let names = match call.target() {
            Some(target) => Names::in_path(target, &request.headers)?,
            None => {
                self.hold_body(session, ctx, length, Some(snapshot.config.limits.scan_bytes)).await?;
                Names::in_body(named_in(session, ctx)?, &session.req_header().headers)?
            }
        };
        let in_hand = call.target().is_none();
        let asked = names::resolve(snapshot, session.req_header(), names, Call::Rest(call))?;
        if let Call::Rest(RestCall::ModelReady(target)) = &asked.call {
            return model_ready(snapshot, &asked, &target.model).map(Step::Answer).map_err(Stop::Refuse);
        }
        if let Call::Rest(RestCall::ModelStatistics(_)) = &asked.call {
            return Ok(Step::Answer(self.statistics(ctx, Some(&asked)).await?));
        }
        ctx.asked = Some(asked);
        if !in_hand {
            self.hold_body(session, ctx, length, None).await?;
        }
        self.admit(ctx)?;
        Ok(Step::Forward)
    }

    /// Takes the request's place among those in flight and chooses its first worker. Comes after everything that a slow
    /// client could draw out.
    pub(super) fn admit(&self, ctx: &mut Context) -> Result<(), OipError> {
        let limit = ctx.snapshot.config.limits.in_flight;
        let permit = self.registry.admission().admit();
        ctx.permit = Some(permit.ok_or_else(|| overloaded(limit, "requests in flight"))?);
        ctx.attempts.next = Some(peer::choose(ctx)?);
        Ok(())
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

    async fn own_answer(
        &self,
        session: &mut Session,
        ctx: &Context,
        call: &RestCall,
    ) -> Result<Option<Answer>, Stop> {
        match call {
            RestCall::Live => Ok(Some(Answer::json(&Live { live: true }))),
            RestCall::Ready if self.registry.ready() => Ok(Some(Answer::json(&Ready { ready: true }))),
            RestCall::Ready => Err(OipError::new(
                Reason::NotReady,
                "the gateway is starting or stopping; see GET /v1/workers of the admin API",
            )
            .into()),
            RestCall::ServerMetadata => Ok(Some(Answer::json(&respond::server_metadata()))),
            RestCall::OpenApi => Ok(Some(Answer::document(openapi::DOCUMENT))),
            RestCall::Load => Err(OipError::new(
                Reason::PathNotFound,
                "no such path: load reports are between workers and gateways; see the admin API",
            )
            .into()),
            RestCall::ModelStatistics(None) => Ok(Some(self.statistics(ctx, None).await?)),
            RestCall::RepositoryIndex => self.repository_index(session, ctx).await.map(Some),
            RestCall::RepositoryLoad(_) | RestCall::RepositoryUnload(_) => {
                Err(OipError::new(Reason::Forbidden, fleet::CONTROL_ELSEWHERE).into())
            }
            RestCall::ModelMetadata(_)
            | RestCall::ModelReady(_)
            | RestCall::ModelConfig(_)
            | RestCall::ModelStatistics(Some(_))
            | RestCall::Infer(_)
            | RestCall::Generate(..)
            | RestCall::NamedInBody(_) => Ok(None),
        }
    }

    /// Reads the body ahead; of one that is too long to be held, as much as is `searched` for names.
    async fn hold_body(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        length: Option<u64>,
        searched: Option<weir_protocol::Bytes>,
    ) -> Result<(), Stop> {
        let config = &ctx.snapshot.config;
        if waits_to_send(session) {
            respond::go_on(session).await.map_err(Stop::Gone)?;
        }
        let limits = HoldLimits {
            replay: config.limits.replay_bytes.0,
            total: config.limits.replay_total_bytes.0,
            within: config.timeouts.body.min(ctx.deadline.left()),
            searched: searched.map_or(0, |bytes| bytes.0),
        };
        ctx.body = Body::read_ahead(session, length, &self.held, &limits).await?;
        Ok(())
    }
}

/// The model that a JSON body names, as far as the body is in hand.
fn named_in(session: &Session, ctx: &Context) -> Result<Seen, OipError> {
    let body = ctx.body.opening(session);
    let limit = ctx.snapshot.config.limits.scan_bytes;
    let searched = body.get(..limit.as_usize()).unwrap_or(&body);
    let found = json_scan::scan(searched)?;
    let model_elsewhere = session.get_header(headers::CLIENT_MODEL).is_some();
    if found.model.is_none() && !found.ended && !model_elsewhere {
        return Err(OipError::bad_request(format!(
            "the body does not name its model within the first {limit} (64 KiB without Content-Length): put \
             `model` first, or send x-model"
        )));
    }
    Ok(Seen { model: found.model.unwrap_or_default(), version: String::new() })
}

fn model_ready(snapshot: &Snapshot, asked: &Asked, name: &ModelName) -> Result<Answer, OipError> {
    if serves(snapshot, asked) {
        return Ok(Answer::json(&ModelReady { name, ready: true }));
    }
    Err(names::not_ready(name))
}

/// Whether a worker could be sent a request for it now.
pub(super) fn serves(snapshot: &Snapshot, asked: &Asked) -> bool {
    let pool = snapshot.directory.resolve(&asked.model, Some(asked.version), asked.needs());
    pool.is_ok_and(|(_, pool)| pool.eligible(asked.needs()) > 0)
}

/// Whether a client waits for a word before it sends its body.
pub(super) fn waits_to_send(session: &Session) -> bool {
    session.get_header("expect").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Watches over a body that passes through: ends the request when it (over gRPC, one of its messages) is above the
/// limit, or still coming when the time for the whole request is over.
pub(super) fn watch_body(ctx: &mut Context, chunk: Option<&Bytes>, end: bool) -> Result<()> {
    ctx.body_sent += chunk.map_or(0, |chunk| chunk.len() as u64);
    let limits = &ctx.snapshot.config.limits;
    let within = if ctx.grpc.spoken {
        ctx.grpc.meter.within(chunk, limits.body_bytes.0)
    } else {
        ctx.body_sent <= limits.body_bytes.0
    };
    if !within {
        ctx.failure = Some(classify::too_large(limits));
        return Err(client_error("the body is above limits.body_bytes"));
    }
    if !end && ctx.deadline.passed() {
        let asked_for = ctx.grpc.spoken && ctx.deadline.from_client;
        ctx.failure = Some(if asked_for { ctx.deadline.missed() } else { too_slow() });
        return Err(client_error("the deadline passed within the body"));
    }
    Ok(())
}

/// An error of the client's side. After one of any other side pingora would wait for what the worker says to half of an
/// HTTP/2 body: of a stream, for as long as both may be silent.
fn client_error(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, what).into_down()
}

/// Breaks off an answer that is still coming when the time for the whole request is over.
pub(super) fn watch_answer(ctx: &mut Context, end: bool) -> Result<()> {
    if end || !ctx.deadline.passed() {
        return Ok(());
    }
    ctx.failure = Some(ctx.deadline.missed());
    Error::e_explain(ErrorType::InternalError, "the deadline passed within the answer")
}

/// What to tell a client whose own connection failed; `None` when it is gone.
pub(super) fn downstream_failure(error: &Error) -> Option<OipError> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(too_slow()),
        // H2Error: the client has given up its stream.
        (
            ErrorSource::Downstream,
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error,
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
