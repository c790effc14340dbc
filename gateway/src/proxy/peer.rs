//! From a chosen replica to the request it gets: who to connect to, and the header to send.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora::{
    Result,
    http::RequestHeader,
    protocols::{ALPN, l4::socket::SocketAddr as PeerAddr},
    proxy::Session,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Scheme},
};
use tokio::time::Instant;
use weir_protocol::{
    OipError, Reason, WorkerId,
    grpc::timeout,
    headers,
    rest::{self, RestCall},
};
use weir_routing::{Ask, EndpointKind, EndpointSpec, Lease};

use super::{
    context::Context,
    grpc::{frame::Meter, rename::Rename},
    names::{self, Asked, Call},
};

/// Headers of a client that say nothing to a worker, or that it could use to speak for the gateway.
const NOT_FORWARDED: [&str; 9] = [
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    headers::CLIENT_TIMEOUT_MS,
    headers::CLIENT_PRIORITY,
    headers::CLIENT_MODEL,
    headers::CLIENT_MODEL_VERSION,
];
/// Calls on one HTTP/2 connection to a worker at a time; another connection is made when they are used up.
const CALLS_PER_CONNECTION: u32 = 32;
/// What a worker may send ahead in one call. pingora reads no answer while it waits for the worker to take more of a
/// stream, and a worker that cannot get rid of an answer takes nothing: one answer should fit.
const CALL_WINDOW_BYTES: u32 = 8 << 20;
/// The same for all calls of a connection: as much as they may all have, or clients that do not read their answers would
/// hold up those of others.
const CONNECTION_WINDOW_BYTES: u32 = CALLS_PER_CONNECTION * CALL_WINDOW_BYTES;
/// Between two pings on a connection to a worker: a machine that is gone without a word is noticed within a stream.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Picks a replica that was not tried yet for a request whose names are resolved.
///
/// # Errors
/// `not-ready` when nothing is left to try; `bad-request` when what is left cannot be told the model's name.
pub(super) fn choose(ctx: &Context) -> Result<Lease, OipError> {
    let Some(asked) = &ctx.asked else {
        return Err(OipError::new(Reason::Internal, "a request was sent on before it was understood"));
    };
    let lease = pick(ctx, asked, &ctx.attempts.tried)?;
    if instead(ctx, asked, &lease).is_ok() {
        return Ok(lease);
    }
    // Rare: another worker, one of ours, may do without the change.
    let mut tried = ctx.attempts.tried.clone();
    let mut unfit = lease;
    loop {
        tried.push(unfit.endpoint().spec.id.clone());
        drop(unfit);
        unfit = pick(ctx, asked, &tried).map_err(|_| unsayable(asked))?;
        if instead(ctx, asked, &unfit).is_ok() {
            return Ok(unfit);
        }
    }
}

fn pick(ctx: &Context, asked: &Asked, tried: &[WorkerId]) -> Result<Lease, OipError> {
    let directory = &ctx.snapshot.directory;
    let (_, pool) = directory
        .resolve(&asked.model, Some(asked.version), asked.needs())
        .map_err(|_| names::not_ready(&asked.model))?;
    let ask = Ask { policy: asked.policy, needs: asked.needs(), tried, random: rand::random() };
    match pool.pick(&ask) {
        Ok((lease, _decision)) => Ok(lease),
        Err(excluded) => Err(names::not_ready_because(&asked.model, &excluded)),
    }
}

/// What to send instead of the opening so that this worker understands the names; an error when that is needed and
/// cannot be done.
fn instead(ctx: &Context, asked: &Asked, lease: &Lease) -> Result<Option<Bytes>, ()> {
    if lease.endpoint().spec.kind == EndpointKind::Weir {
        return Ok(None);
    }
    let Call::Grpc(call) = &asked.call else {
        let other = asked.seen.as_ref().is_some_and(|seen| seen.says_other_than(&asked.model));
        return if other { Err(()) } else { Ok(None) };
    };
    let Some(rename) = Rename::needed(asked, lease.versioned()) else { return Ok(None) };
    // Every message of a stream has the names, and only the first is at hand.
    let renamed = if call.is_stream() { None } else { rename.apply(ctx.body.held_opening()) };
    renamed.map(Some).ok_or(())
}

fn unsayable(asked: &Asked) -> OipError {
    let message = format!(
        "the workers of model '{}' read its name in the body, where it cannot be changed: use its own name and version \
         (over gRPC: within streams, compressed and very large messages)",
        asked.model
    );
    OipError::bad_request(message)
}

/// Begins an attempt: the connection parameters of the worker that was chosen for it.
pub(super) fn begin_attempt(ctx: &mut Context) -> Option<Box<HttpPeer>> {
    let lease = ctx.attempts.next.take()?;
    let instead = ctx.asked.as_ref().and_then(|asked| instead(ctx, asked, &lease).ok().flatten());
    let spec = &lease.endpoint().spec;
    let now = Instant::now();
    let peer = connection(ctx, spec, now)?;
    debug_assert!(matches!(peer._address, PeerAddr::Inet(_)) && matches!(peer.scheme, Scheme::HTTP));
    ctx.attempts.begun += 1;
    ctx.attempts.answered = false;
    ctx.attempts.started = Some(now);
    ctx.attempts.last = Some(spec.id.clone());
    ctx.attempts.current = Some(lease);
    ctx.body.rewind(instead);
    ctx.body_sent = 0;
    ctx.grpc.meter = Meter::default();
    Some(peer)
}

/// REST goes to workers over HTTP/1.1 and gRPC over h2c: a refusal before the body was read arrives reliably over
/// HTTP/1.1 only, and gRPC needs trailers. `None` for a gRPC call to a worker without gRPC, which no pick chooses.
fn connection(ctx: &Context, spec: &EndpointSpec, now: Instant) -> Option<Box<HttpPeer>> {
    let address = if ctx.grpc.spoken { spec.grpc.as_ref()?.address } else { spec.address };
    let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
    let timeouts = &ctx.snapshot.config.timeouts;
    let left = ctx.deadline.left_at(now);
    // The worker may be silent for as long as the request may take: it is computing. pingora reads the answer while
    // the body is still being sent, so a shorter limit would cut long uploads.
    let silence = if ctx.grpc.is_stream() { left.min(timeouts.stream_idle) } else { left };
    peer.options.connection_timeout = Some(timeouts.connect.min(left));
    peer.options.read_timeout = Some(silence);
    peer.options.write_timeout = Some(timeouts.idle.min(left));
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    if ctx.grpc.spoken {
        peer.options.alpn = ALPN::H2;
        peer.options.max_h2_streams = CALLS_PER_CONNECTION as usize;
        peer.options.h2_stream_window_size = Some(CALL_WINDOW_BYTES);
        peer.options.h2_connection_window_size = Some(CONNECTION_WINDOW_BYTES);
        peer.options.h2_ping_interval = Some(PING_EVERY);
    }
    Some(peer)
}

/// Rewrites the header for the worker: the resolved path, the worker's own authority, no header a client could use
/// to speak for the gateway.
pub(super) fn rewrite(session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let (Some(asked), Some(lease)) = (&ctx.asked, &ctx.attempts.current) else { return Ok(()) };
    let spec = &lease.endpoint().spec;
    strip_client_headers(session, request);
    let left = ctx.attempts.started.map_or_else(|| ctx.deadline.left(), |at| ctx.deadline.left_at(at));
    let authority = match &asked.call {
        Call::Rest(call) => {
            request.set_raw_path(path(call, asked, lease).as_bytes())?;
            &spec.authority
        }
        Call::Grpc(_) => {
            request.set_raw_path(session.req_header().uri.path().as_bytes())?;
            // The length of a message may have changed with the names in it.
            request.remove_header(&header::CONTENT_LENGTH);
            if ctx.deadline.at.is_some() {
                request.insert_header(timeout::HEADER, timeout::format(left))?;
            }
            spec.grpc.as_ref().map_or(&spec.authority, |grpc| &grpc.authority)
        }
    };
    request.insert_header(header::HOST, authority.as_str())?;
    if spec.kind == EndpointKind::Foreign {
        return request.insert_header(headers::CLIENT_REQUEST_ID, ctx.request_id.as_str());
    }
    request.insert_header(headers::REQUEST_ID, ctx.request_id.as_str())?;
    if ctx.deadline.at.is_some() {
        let left_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        request.insert_header(headers::DEADLINE_US, left_us)?;
    }
    // Of a stream every message has its own time, and the first attempts took none of it.
    if !ctx.attempts.spent.is_zero() && !ctx.grpc.is_stream() {
        let spent_us = u64::try_from(ctx.attempts.spent.as_micros()).unwrap_or(u64::MAX);
        request.insert_header(headers::WAITED_US, spent_us)?;
    }
    if let Some(priority) = ctx.priority {
        request.insert_header(headers::PRIORITY, priority.to_string())?;
    }
    if let Some(route) = asked.resolved() {
        request.insert_header(headers::ROUTE, route.to_string())?;
    }
    if let Some(token) = &ctx.snapshot.config.gateway.worker_token {
        request.insert_header(headers::TOKEN, token.reveal())?;
    }
    Ok(())
}

/// The path of a REST call as this worker knows it.
fn path(call: &RestCall, asked: &Asked, lease: &Lease) -> String {
    let version = Some(asked.version).filter(|_| lease.versioned());
    let action = match call {
        RestCall::NamedInBody(path) => return (*path).to_owned(),
        RestCall::Infer(_) => "infer",
        RestCall::ModelConfig(_) => "config",
        RestCall::Generate(_, form) => form.action(),
        // Metadata without a version lists every version: it must not be narrowed to one.
        _ => return rest::model_path(&asked.model, version.filter(|_| asked.version_named), ""),
    };
    rest::model_path(&asked.model, version, action)
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
