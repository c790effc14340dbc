//! Answers that the gateway writes itself: errors, health, server metadata.
//!
//! Every error is OIP JSON with a reason header, so that stock clients show its message.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use pingora::{Error, Result, http::ResponseHeader, proxy::Session};
use tokio::time::timeout;
use weir_protocol::{OipError, Reason, headers, metadata::ServerMetadata, rest::RestCall};

use super::{
    context::Context,
    grpc::{self, frame::framed},
    peer::is_internal,
};

/// Fields that concern one connection only; `Connection` itself and framing are pingora's.
const HOP_BY_HOP: [&str; 5] = ["keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "upgrade"];
/// Bytes of a refused body that are read and thrown away, so that the client sees the answer instead of a reset.
const DRAIN_BYTES: usize = 64 << 20;
/// How long that may take.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(3);
/// `Retry-After` of answers that a moment may cure, in seconds.
pub(super) const RETRY_AFTER: &str = "1";

/// An answer of the gateway's own.
pub(super) struct Answer {
    status: u16,
    body: Bytes,
    error: Option<OipError>,
    /// Whether the connection cannot be used for another request.
    close: bool,
}

impl Answer {
    /// 200 with a JSON body.
    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default().into();
        Self { status: 200, body, error: None, close: false }
    }

    /// 200 with JSON that is text already.
    pub(super) fn document(json: &'static str) -> Self {
        Self { status: 200, body: Bytes::from_static(json.as_bytes()), error: None, close: false }
    }

    /// The one message of a gRPC call.
    pub(super) fn message(message: &impl prost::Message) -> Self {
        Self { status: 200, body: framed(message), error: None, close: false }
    }

    /// An error; the connection stays usable.
    pub(super) fn error(error: OipError) -> Self {
        Self { status: error.reason.status(), body: error.body().into(), error: Some(error), close: false }
    }

    /// An error after which the connection is closed.
    pub(super) fn closing(error: OipError) -> Self {
        Self { close: true, ..Self::error(error) }
    }
}

/// The extensions of the protocol that are offered through the gateway, by the names that Triton gave them: those of
/// its workers, the fleet's statistics and index for theirs.
const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"];

/// The gateway's own `GET /v2`.
pub(super) fn server_metadata() -> ServerMetadata {
    ServerMetadata {
        name: "weir".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// Whether a byte of the final answer went to the client. A `100 Continue` is none: pingora counts it as written too.
pub(super) fn begun(session: &Session) -> bool {
    session.response_written().is_some_and(|response| !response.status.is_informational())
}

/// Tells a client that waits for it to send its body; its connection stays usable.
pub(super) async fn go_on(session: &mut Session) -> Result<()> {
    // pingora would take the interim answer for one that came before the request's end, and close.
    session.set_close_on_response_before_downstream_finish(false);
    session.write_continue_response().await?;
    session.set_close_on_response_before_downstream_finish(true);
    Ok(())
}

/// Writes an answer; the connection survives it unless the answer says otherwise.
pub(super) async fn answer(session: &mut Session, ctx: &mut Context, answer: Answer) -> Result<()> {
    ctx.answered_here = true;
    if ctx.grpc.spoken {
        return match answer.error {
            Some(error) => grpc::answer::refuse(session, ctx, error),
            None => grpc::answer::unary(session, ctx, answer.body).await,
        };
    }
    let mut head = ResponseHeader::build(answer.status, Some(6))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    head.insert_header(headers::CLIENT_REQUEST_ID, ctx.request_id.as_str())?;
    if let Some(error) = answer.error {
        head.insert_header(headers::REASON, error.reason.name())?;
        if error.reason.retry_later() {
            head.insert_header(header::RETRY_AFTER, RETRY_AFTER)?;
        }
        if error.reason == Reason::MethodNotAllowed {
            let posts = RestCall::parse("POST", session.req_header().uri.path()).is_ok();
            head.insert_header(header::ALLOW, if posts { "POST" } else { "GET, HEAD" })?;
        }
        ctx.failure = Some(error);
    }
    if answer.close {
        session.set_keepalive(None);
    }
    // What is left of the body is drained after the answer ([`drain`]), so the connection can stay.
    session.set_close_on_response_before_downstream_finish(false);
    let bodiless = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(answer.body), true).await?;
    }
    Ok(())
}

/// Throws away what a client still sends after it was answered, within bounds; a client that sends on is cut off.
/// Called after leases and permits were given back.
///
/// Not for gRPC streams: their clients may keep them open for as long as they like, and HTTP/2 tells a client to stop
/// sending without harm to its answer.
pub(super) async fn drain(session: &mut Session, ctx: &Context) {
    if session.is_body_done() || ctx.grpc.is_stream() {
        return;
    }
    let draining = async {
        let mut left = DRAIN_BYTES;
        while let Some(chunk) = session.read_request_body().await? {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return Ok(false);
            }
        }
        Ok::<bool, Box<Error>>(true)
    };
    if !matches!(timeout(DRAIN_TIME, draining).await, Ok(Ok(true))) {
        session.set_keepalive(None);
    }
}

/// Takes out of a gRPC answer's trailers what is internal.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    let names: Vec<_> = trailers.keys().filter(|name| hidden(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(&name);
    }
}

/// Whether a header of a worker's is not for clients to see.
fn hidden(name: &str) -> bool {
    is_internal(name) && !headers::CLIENT_VISIBLE.contains(&name)
}

/// Takes out of an answer what concerns the hop to the worker only, and its internal headers, except those that
/// clients may see.
pub(super) fn clean(response: &mut ResponseHeader) {
    let stays_here = |name: &str| hidden(name) || HOP_BY_HOP.contains(&name);
    // Few answers carry any; the names are copied because removing borrows the header.
    let names: Vec<_> = response.headers.keys().filter(|name| stays_here(name.as_str())).cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
}
