//! The way of a client's request through pingora: every phase in order, each delegating to the file that decides.
//!
//! Owns nothing but the registry and the budget of held bodies; what belongs to one request lives in [`Context`].
//! Called by pingora only. docs/LIFE_OF_A_REQUEST.md tells the same story in words.

mod body;
mod classify;
mod context;
mod fleet;
mod grpc;
mod json_scan;
mod local;
mod names;
mod peer;
mod record;
mod respond;
mod retry;
#[cfg(test)]
mod test_session;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use weir_protocol::{OipError, Reason, headers};

use self::{body::HoldBudget, context::Context, local::Step, respond::Answer};
use crate::{fleet::Fleet, registry::Registry, telemetry::AttemptOutcome};

/// The gateway's request path.
pub struct Proxy {
    registry: Arc<Registry>,
    fleet: Arc<Fleet>,
    held: HoldBudget,
}

impl Proxy {
    /// A proxy over the fleet that the registry knows.
    #[must_use]
    pub fn new(registry: Arc<Registry>, fleet: Arc<Fleet>) -> Self {
        Self { registry, fleet, held: HoldBudget::default() }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.registry.snapshot_full(), self.registry.open_request())
    }

    /// None: pingora's compression module would touch bodies that must pass as they are.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let answer = match self.prepare(session, ctx).await {
            Ok(Step::Forward) => return Ok(false),
            Ok(Step::Answered) => return Ok(true),
            Ok(Step::Answer(answer)) => answer,
            Err(local::Stop::Refuse(error)) => Answer::error(error),
            Err(local::Stop::Close(error)) => Answer::closing(error),
            Err(local::Stop::Gone(error)) => return Err(error),
        };
        respond::answer(session, ctx, answer).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        peer::begin_attempt(ctx).ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "an attempt began without a chosen worker")
        })
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        peer::rewrite(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        chunk: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // pingora has written the header by now: from here on the worker has the request.
        ctx.mark_sent();
        ctx.body.splice(chunk);
        local::watch_body(ctx, chunk.as_ref(), end)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.mark_sent();
        let Some(refusal) = retry::refusal(response) else {
            retry::check_answer(response, ctx)?;
            ctx.attempts.answered = true;
            ctx.body.let_go();
            return Ok(());
        };
        self.registry.telemetry().record_attempt(AttemptOutcome::Refused(refusal));
        ctx.snapshot = self.registry.snapshot_full();
        retry::after_refusal(session, ctx, response).map_or(Ok(()), Err)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        respond::clean(response);
        response.insert_header(headers::CLIENT_REQUEST_ID, ctx.request_id.as_str())?;
        if ctx.grpc.spoken {
            grpc::note_end(ctx, &response.headers);
        }
        if self.registry.stopping() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _chunk: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        local::watch_answer(ctx, end)?;
        grpc::check_end(ctx, end).map(|()| None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        respond::clean_trailers(trailers);
        grpc::note_end(ctx, trailers);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        self.registry.telemetry().record_attempt(AttemptOutcome::ConnectFailed);
        if let Some(worker) = ctx.attempts.last.as_ref().filter(|_| retry::blames_worker(&error, ctx)) {
            self.registry.report_connect_failure(worker);
        }
        ctx.snapshot = self.registry.snapshot_full();
        retry::after_connect_failure(session, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        if ctx.attempts.next.is_none() && *error.esource() == ErrorSource::Upstream {
            self.registry.telemetry().record_attempt(retry::outcome(&error));
        }
        ctx.snapshot = self.registry.snapshot_full();
        retry::after_break(session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        ctx.failure = ctx.failure.take().or_else(|| local::downstream_failure(error));
        let failed = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Some(failure) = ctx.failure.clone() else { return failed };
        let error_code = failure.reason.status();
        let written = match (respond::begun(session), ctx.grpc.spoken) {
            (false, _) => respond::answer(session, ctx, Answer::closing(failure)).await,
            (true, true) => grpc::answer::end(session, ctx, Some(failure)).await,
            (true, false) => return failed,
        };
        FailToProxy { error_code: if written.is_ok() { error_code } else { 0 }, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if ctx.attempts.answered && error.is_none() {
            self.registry.telemetry().record_attempt(AttemptOutcome::Answered);
        }
        record::request(self.registry.telemetry(), session, error, ctx);
        ctx.release();
        if ctx.answered_here {
            respond::drain(session, ctx).await;
        }
    }

    /// The access log and the metrics say it; a second line would say it worse.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// What to answer when there are as many of something as there may be.
fn overloaded(limit: usize, what: &str) -> OipError {
    OipError::new(Reason::Overloaded, format!("the gateway has {limit} {what} already; try again later"))
}
