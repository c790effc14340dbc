//! `grpc.health.v1`: whether the gateway, or a model behind it, takes inferences.
//!
//! A service's name is empty for the gateway as a whole, else a model's, an alias included. Every answer looks at the
//! fleet as it is then. Called by [`super::own`].

use std::time::Duration;

use pingora::proxy::Session;
use tonic_health::pb::{HealthCheckResponse, health_check_response::ServingStatus};
use weir_protocol::{OipError, Reason, error::shown, grpc::GrpcCall};

use super::{answer, frame::framed};
use crate::proxy::{
    Proxy,
    context::Context,
    local::{self, Step, Stop},
    names::{self, Call, Names, Seen},
    respond::Answer,
};

/// Between two looks at a state that somebody watches: states change by themselves, nobody tells.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

impl Proxy {
    /// Answers Check.
    pub(super) fn check(&self, session: &Session, service: &str) -> Result<Answer, OipError> {
        let status = self.health_of(session, service).ok_or_else(|| {
            let name = shown(service);
            OipError::new(
                Reason::ModelNotFound,
                format!("unknown service '{name}': use a model's name, or none"),
            )
        })?;
        Ok(Answer::message(&response(status)))
    }

    /// Answers Watch: the status now, and again whenever it has changed, until the client leaves or the gateway stops.
    pub(super) async fn watch(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        service: &str,
    ) -> Result<Step, Stop> {
        self.admit_watch(ctx)?;
        answer::begin(session, ctx).map_err(Stop::Gone)?;
        let mut told = None;
        let end = loop {
            let now = self.health_of(session, service).unwrap_or(ServingStatus::ServiceUnknown);
            if told.replace(now) != Some(now) {
                answer::send(session, framed(&response(now))).await.map_err(Stop::Gone)?;
            }
            if self.registry.stopping() {
                break OipError::new(Reason::Draining, "the gateway is stopping: watch again");
            }
            if ctx.deadline.passed() {
                break ctx.deadline.missed();
            }
            answer::pause(session, WATCH_INTERVAL.min(ctx.deadline.left())).await.map_err(Stop::Gone)?;
        };
        answer::end(session, ctx, Some(end)).await.map_err(Stop::Gone)?;
        ctx.answered_here = true;
        Ok(Step::Answered)
    }

    /// The status of a service; `None` when there is none of that name.
    fn health_of(&self, session: &Session, service: &str) -> Option<ServingStatus> {
        if service.is_empty() {
            return Some(status(self.registry.ready()));
        }
        let request = session.req_header();
        let snapshot = self.registry.snapshot();
        let seen = Seen { model: service.to_owned(), version: String::new() };
        let names = Names::in_body(seen, &request.headers).ok()?;
        match names::resolve(&snapshot, request, names, Call::Grpc(GrpcCall::HealthCheck)) {
            Ok(asked) => Some(status(!self.registry.stopping() && local::serves(&snapshot, &asked))),
            Err(error) if error.reason.retry_later() => Some(ServingStatus::NotServing),
            Err(_) => None,
        }
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
