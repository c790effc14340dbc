//! Writes the gateway's own gRPC answers: messages, ends, and errors that stock clients understand.
//!
//! An error before an answer has begun is one header block (trailers only); after that it is the trailers that the
//! worker did not send. Called by [`crate::proxy::respond`] and [`super::own`].

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::{
    Error, ErrorType, Result, http::ResponseHeader, protocols::http::ServerSession, proxy::Session,
};
use tokio::time::timeout;
use weir_protocol::{OipError, Reason, grpc::code_of, headers};

use super::{STATUS, encoding};
use crate::proxy::{context::Context, respond::RETRY_AFTER};

/// Name of the field with an error's message.
const MESSAGE: &str = "grpc-message";

/// Answers with an error, in one header block.
pub(in crate::proxy) fn refuse(session: &mut Session, ctx: &mut Context, error: OipError) -> Result<()> {
    let mut head = head(ctx)?;
    for (name, value) in error_fields(&error)? {
        head.insert_header(name, value)?;
    }
    ctx.grpc.status = Some(code_of(error.reason).number().into());
    ctx.failure = Some(error);
    write_head(session, head, true)
}

/// Writes the one message of a unary call and ends it well.
pub(in crate::proxy) async fn unary(session: &mut Session, ctx: &mut Context, framed: Bytes) -> Result<()> {
    begin(session, ctx)?;
    send(session, framed).await?;
    end(session, ctx, None).await
}

/// Begins an answer of messages.
pub(in crate::proxy) fn begin(session: &mut Session, ctx: &Context) -> Result<()> {
    write_head(session, head(ctx)?, false)
}

/// Writes one framed message.
pub(in crate::proxy) async fn send(session: &mut Session, framed: Bytes) -> Result<()> {
    session.as_downstream_mut().write_response_body(framed, false).await
}

/// Ends an answer that has begun: well, or with an error.
pub(in crate::proxy) async fn end(
    session: &mut Session,
    ctx: &mut Context,
    error: Option<OipError>,
) -> Result<()> {
    let mut trailers = HeaderMap::new();
    match error {
        Some(error) => {
            trailers.extend(error_fields(&error)?);
            ctx.grpc.status = Some(code_of(error.reason).number().into());
            ctx.failure = Some(error);
        }
        None => {
            trailers.insert(STATUS, HeaderValue::from_static("0"));
            ctx.grpc.status = Some(0);
        }
    }
    session.as_downstream_mut().write_response_trailers(trailers).await.map_err(|error| error.into_down())
}

/// Waits for so long.
///
/// # Errors
/// The client has left.
pub(in crate::proxy) async fn pause(session: &mut Session, duration: Duration) -> Result<()> {
    let Some(left) = session.as_downstream_mut().watch_h2_stream_close() else {
        return Error::e_explain(ErrorType::InternalError, "a gRPC answer needs HTTP/2");
    };
    match timeout(duration, left).await {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
}

fn head(ctx: &Context) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(200, Some(6))?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    head.insert_header(headers::CLIENT_REQUEST_ID, ctx.request_id.as_str())?;
    Ok(head)
}

/// pingora's own method for any session never ends the stream with the header.
fn write_head(session: &mut Session, head: ResponseHeader, end: bool) -> Result<()> {
    match session.as_downstream_mut() {
        ServerSession::H2(h2) => {
            h2.write_response_header(Box::new(head), end).map_err(|error| error.into_down())
        }
        _ => Error::e_explain(ErrorType::InternalError, "a gRPC answer needs HTTP/2"),
    }
}

fn error_fields(error: &OipError) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let mut fields = vec![
        (STATUS, HeaderValue::from(u16::from(code_of(error.reason).number()))),
        (HeaderName::from_static(headers::REASON), HeaderValue::from_static(error.reason.name())),
    ];
    let message = HeaderValue::try_from(percent_encoded(&error.message));
    let message = message.map_err(|cause| {
        Error::because(ErrorType::InternalError, "an error's message is no header", cause)
    })?;
    fields.push((HeaderName::from_static(MESSAGE), message));
    if error.reason.retry_later() {
        fields.push((header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER)));
    }
    if error.reason == Reason::UnsupportedEncoding {
        let name = HeaderName::from_static("grpc-accept-encoding");
        fields.push((name, HeaderValue::from_static(encoding::ACCEPTED)));
    }
    Ok(fields)
}

/// A message as `grpc-message` has it: printable ASCII but `%` as it is, everything else as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..0x20 | 0x7f.. => _ = write!(text, "%{byte:02X}"),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use weir_protocol::grpc::GrpcCode;

    use super::*;

    #[test]
    fn a_message_is_readable_where_it_can_be_and_whole_where_it_cannot() {
        assert_eq!(percent_encoded("model 'a': 50 % of\nälle"), "model 'a': 50 %25 of%0A%C3%A4lle");
    }

    #[test]
    fn every_reason_has_fields_that_a_header_can_hold() {
        for &reason in Reason::ALL {
            let fields = error_fields(&OipError::new(reason, "x\u{0}y")).unwrap();
            assert_eq!(fields[0].1, code_of(reason).number().to_string().as_str());
            assert_eq!(fields[1].1, reason.name());
            assert_eq!(fields[2].1, "x%00y");
            let waits = fields.iter().any(|(name, value)| name == header::RETRY_AFTER && value == "1");
            assert_eq!(waits, code_of(reason) == GrpcCode::Unavailable && reason != Reason::WorkerFailed);
        }
    }
}
