//! From a chosen replica to the request it gets: who to connect to, and the header to send.

use http::header;
use pingora::{
    Result,
    http::RequestHeader,
    protocols::l4::socket::SocketAddr as PeerAddr,
    proxy::Session,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Scheme},
};
use tokio::time::Instant;
use weir_protocol::{OipError, Reason, headers, rest};
use weir_routing::{Ask, Lease};

use super::{classify, context::Context};

/// Headers of a client that say nothing to a worker, or that it could use to speak for the gateway.
const NOT_FORWARDED: [&str; 6] = [
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    headers::CLIENT_TIMEOUT_MS,
];

/// Picks a replica that was not tried yet for a request whose names are resolved.
///
/// # Errors
/// `not-ready` when nothing is left to try.
pub(super) fn choose(ctx: &Context) -> Result<Lease, OipError> {
    let Some(asked) = &ctx.asked else {
        return Err(OipError::new(Reason::Internal, "a request was sent on before it was understood"));
    };
    let directory = &ctx.snapshot.directory;
    let (_, pool) = directory
        .resolve(&asked.model, Some(asked.version), &asked.labels)
        .map_err(|_| classify::not_ready(&asked.model))?;
    let ask = Ask {
        policy: asked.policy,
        labels: &asked.labels,
        tried: &ctx.attempts.tried,
        random: rand::random(),
    };
    match pool.pick(&ask) {
        Ok((lease, _decision)) => Ok(lease),
        Err(excluded) => Err(classify::not_ready_because(&asked.model, &excluded)),
    }
}

/// Begins an attempt: the connection parameters of the worker that was chosen for it.
pub(super) fn begin_attempt(ctx: &mut Context) -> Option<Box<HttpPeer>> {
    let lease = ctx.attempts.next.take()?;
    let spec = &lease.endpoint().spec;
    let mut peer = Box::new(HttpPeer::new(spec.address, false, String::new()));
    let timeouts = &ctx.snapshot.config.timeouts;
    let now = Instant::now();
    let left = ctx.deadline.left_at(now);
    // The worker may be silent for as long as the request may take: it is computing. pingora reads the answer while
    // the body is still being sent, so a shorter limit would cut long uploads.
    peer.options.connection_timeout = Some(timeouts.connect.min(left));
    peer.options.read_timeout = Some(left);
    peer.options.write_timeout = Some(timeouts.idle.min(left));
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    debug_assert!(matches!(peer._address, PeerAddr::Inet(_)) && matches!(peer.scheme, Scheme::HTTP));
    ctx.attempts.begun += 1;
    ctx.attempts.answered = false;
    ctx.attempts.started = Some(now);
    ctx.attempts.last = Some(spec.id.clone());
    ctx.attempts.current = Some(lease);
    ctx.body.rewind();
    ctx.body_sent = 0;
    Some(peer)
}

/// Rewrites the header for the worker: the resolved path, the worker's own authority, no header a client could use
/// to speak for the gateway.
pub(super) fn rewrite(session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let (Some(asked), Some(lease)) = (&ctx.asked, &ctx.attempts.current) else { return Ok(()) };
    let path = match &asked.call {
        rest::RestCall::Infer(_) => rest::model_path(&asked.model, Some(asked.version), "infer"),
        // Metadata without a version lists every version: it must not be narrowed to one.
        _ => rest::model_path(&asked.model, asked.version_named.then_some(asked.version), ""),
    };
    request.set_raw_path(path.as_bytes())?;
    strip_client_headers(session, request);
    request.insert_header(header::HOST, lease.endpoint().spec.authority.as_str())?;
    request.insert_header(headers::REQUEST_ID, ctx.request_id.as_str())?;
    let left =
        ctx.attempts.started.map_or_else(|| ctx.deadline.left(), |started| ctx.deadline.left_at(started));
    let left_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
    request.insert_header(headers::DEADLINE_US, left_us)?;
    if let Some(token) = &ctx.snapshot.config.gateway.worker_token {
        request.insert_header(headers::TOKEN, token.reveal())?;
    }
    Ok(())
}

/// One pass over the names, which needs no lookup when there is nothing to strip, as is usual.
fn strip_client_headers(session: &Session, request: &mut RequestHeader) {
    for name in session.req_header().headers.keys() {
        if is_internal(name.as_str()) || NOT_FORWARDED.contains(&name.as_str()) {
            request.remove_header(name);
        }
    }
}

/// Whether a header belongs to the conversation between gateway and worker. Header names are in lower case.
pub(super) fn is_internal(name: &str) -> bool {
    name.starts_with(headers::INTERNAL_PREFIX) || name.starts_with(headers::ORCA_LOAD)
}
