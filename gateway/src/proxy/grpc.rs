//! gRPC through the gateway: what differs from REST between a call's header and the choice of its worker, and on the way
//! back.
//!
//! A call's names are in its first message, which is read before a worker is chosen ([`first`]); what the gateway
//! answers itself is in [`own`]. Errors are statuses in trailers, never bodies ([`answer`]). Tensors are not decoded.
//! Called by [`super::local`] and the phases in [`super`].

pub(super) mod answer;
mod encoding;
mod fields;
mod first;
pub(super) mod frame;
mod health;
mod own;
mod reader;
mod reflection;
pub(super) mod rename;

use http::{HeaderMap, HeaderName, Version as HttpVersion, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use weir_protocol::{OipError, Reason, grpc::GrpcCall};

use self::{
    encoding::Encoding,
    first::{Bounds, First},
    frame::Meter,
};
use super::{
    Proxy, classify,
    context::{Context, Deadline},
    local::{Step, Stop},
    names::{self, Call, Names, Seen},
};
use crate::registry::Snapshot;

/// Name of the field with a call's status.
pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What every gRPC content type begins with.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// What is remembered of a gRPC call; the default is "none".
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Whether the request is gRPC: its answers are statuses in trailers.
    pub(super) spoken: bool,
    /// The method, once it is known.
    pub(super) call: Option<GrpcCall>,
    /// Follows the messages from the client.
    pub(super) meter: Meter,
    /// `grpc-status` of the answer.
    pub(super) status: Option<u32>,
}

impl Exchange {
    /// Whether client or worker may send any number of messages, at any time.
    pub(super) fn is_stream(&self) -> bool {
        self.call.is_some_and(GrpcCall::is_stream)
    }

    /// Notes the status that an answer's header or trailers carry.
    pub(super) fn note(&mut self, fields: &HeaderMap) {
        let status =
            fields.get(STATUS).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        self.status = status.or(self.status);
    }

    /// The HTTP status that says the same as the call's status, for metrics and logs.
    pub(super) fn http_status(&self) -> Option<u16> {
        Some(match self.status? {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 413,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        })
    }
}

/// Whether a request speaks gRPC.
///
/// # Errors
/// `unsupported-encoding`: it says so, and the connection is HTTP/1.1, which has no room for it; or it is gRPC-Web.
pub(super) fn spoken(request: &RequestHeader) -> Result<bool, OipError> {
    let kind = request.headers.get(header::CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    match kind.strip_prefix(CONTENT_TYPE) {
        None => Ok(false),
        Some(rest)
            if request.version == HttpVersion::HTTP_2 && matches!(rest.first(), None | Some(b'+' | b';')) =>
        {
            Ok(true)
        }
        Some(_) => {
            let message = "gRPC needs HTTP/2 (h2c with prior knowledge) and content-type application/grpc";
            Err(OipError::new(Reason::UnsupportedEncoding, message))
        }
    }
}

/// Whether an answer's header is that of a gRPC server: anything else comes from something that is none.
pub(super) fn is_answer(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(header::CONTENT_TYPE);
    response.status == http::StatusCode::OK
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(CONTENT_TYPE))
}

/// Notes the status of an answer where it stands, in its header or its trailers. The worker is done then, while the
/// client may hold its side of a stream open for as long as it likes: lease and permit are given back.
pub(super) fn note_end(ctx: &mut Context, fields: &HeaderMap) {
    ctx.grpc.note(fields);
    if ctx.grpc.status.is_some() {
        ctx.release_worker();
    }
}

/// Refuses a body that ends an answer: the status in the trailers after it does. Without one a client would not know
/// whether the call did well.
pub(super) fn check_end(ctx: &mut Context, end: bool) -> Result<()> {
    if !end || !ctx.grpc.spoken || ctx.grpc.status.is_some() {
        return Ok(());
    }
    ctx.failure = Some(OipError::new(Reason::WorkerFailed, "the worker ended its answer without a status"));
    Error::e_explain(ErrorType::InternalError, "an answer without grpc-status")
}

impl Proxy {
    /// Takes a gRPC call up to its first chosen worker, or answers it.
    pub(super) async fn prepare_grpc(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        snapshot: &Snapshot,
    ) -> Result<Step, Stop> {
        let call = method(session.req_header())?;
        ctx.grpc.call = Some(call);
        if call.is_stream() {
            let asked = classify::client_timeout(&session.req_header().headers)?;
            ctx.deadline = Deadline::of_stream(ctx.arrived, asked);
        }
        if ctx.deadline.passed() {
            return Err(ctx.deadline.missed().into());
        }
        let encoding = Encoding::of(&session.req_header().headers)?;
        if own::is_own(call) {
            return self.answer_call(session, ctx, call, encoding).await;
        }
        let Some(First { body, names }) = self.first_message(session, ctx, encoding).await? else {
            // A stream that its client ends before it has asked anything ends well.
            if call.is_stream() {
                return self.end_empty(session, ctx).await;
            }
            return Err(OipError::bad_request("the call has no message").into());
        };
        let seen = Seen { model: names.model, version: names.version };
        let names = Names::in_body(seen, &session.req_header().headers)?;
        let asked = names::resolve(snapshot, session.req_header(), names, Call::Grpc(call));
        if call == GrpcCall::ModelReady {
            return own::model_ready(snapshot, asked).map(Step::Answer).map_err(Stop::Refuse);
        }
        ctx.asked = Some(asked?);
        ctx.body = body;
        self.admit(ctx)?;
        Ok(Step::Forward)
    }

    async fn first_message(
        &self,
        session: &mut Session,
        ctx: &Context,
        encoding: Option<Encoding>,
    ) -> Result<Option<First>, Stop> {
        let config = &ctx.snapshot.config;
        let left = ctx.deadline.left();
        let bounds = Bounds {
            limits: &config.limits,
            // A stream may be opened long before there is something to ask.
            silence: ctx.grpc.is_stream().then(|| config.timeouts.stream_idle.min(left)),
            within: config.timeouts.body.min(left),
            encoding,
        };
        first::read(session, &self.held, bounds).await
    }
}

/// The method that a request calls.
fn method(request: &RequestHeader) -> Result<GrpcCall, OipError> {
    let path = request.uri.path();
    let call = GrpcCall::parse(path).ok_or_else(|| {
        OipError::new(Reason::PathNotFound, "no such method: see the service inference.GRPCInferenceService")
    })?;
    if request.method == http::Method::POST {
        return Ok(call);
    }
    Err(OipError::new(Reason::MethodNotAllowed, "gRPC calls are POST requests"))
}

#[cfg(test)]
mod tests;
