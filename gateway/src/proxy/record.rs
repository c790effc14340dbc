//! One request's line in the access log and its share of the metrics.

use pingora::{Error, ErrorSource, proxy::Session};

use super::{context::Context, respond};
use crate::telemetry::{AccessRecord, RequestRecord, Telemetry, log_access};

/// Status in the log of a request whose client left before it was answered.
const CLIENT_GONE: u16 = 499;

/// Records how a request ended.
pub(super) fn request(telemetry: &Telemetry, session: &Session, error: Option<&Error>, ctx: &Context) {
    let written = session.response_written().filter(|_| respond::begun(session));
    let written = written.map(|response| ctx.grpc.http_status().unwrap_or(response.status.as_u16()));
    let theirs = error.is_some_and(|e| *e.esource() == ErrorSource::Downstream);
    let gone = theirs && !ctx.answered_here && ctx.failure.is_none();
    let record = RequestRecord {
        model: ctx.asked.as_ref().map(|asked| &asked.model),
        status: written.filter(|_| !gone).unwrap_or(CLIENT_GONE),
        reason: ctx.failure.as_ref().map(|failure| failure.reason),
        attempts: ctx.attempts.begun,
        worker: ctx.attempts.last.as_ref().filter(|_| !ctx.answered_here),
        duration: ctx.arrived.elapsed(),
        upstream_duration: ctx.attempts.started.filter(|_| ctx.attempts.answered).map(|at| at.elapsed()),
    };
    telemetry.record_request(&record);
    if ctx.snapshot.config.gateway.access_log {
        access_log(session, ctx, &record);
    }
}

fn access_log(session: &Session, ctx: &Context, request: &RequestRecord<'_>) {
    let downstream = session.as_downstream();
    let header = session.req_header();
    log_access(&AccessRecord {
        request_id: &ctx.request_id,
        client: downstream.client_addr().and_then(|address| address.as_inet()).copied(),
        method: header.method.as_str(),
        path: header.uri.path(),
        version: ctx.asked.as_ref().map(|asked| asked.version),
        route: ctx.asked.as_ref().and_then(|asked| asked.route.as_deref()),
        grpc_status: ctx.grpc.status,
        bytes_in: downstream.body_bytes_read() as u64,
        bytes_out: downstream.body_bytes_sent() as u64,
        request,
    });
}
