//! Every answer of the gRPC front: framed messages, statuses and headers, in one place.
//!
//! Here is the one match from a rejection to a status. A call that has no message to answer with is answered by headers
//! alone, so that a gateway sees at once whether the call was started.

use bytes::{BufMut, Bytes};
use futures_util::{Stream, StreamExt};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tonic::{Code, Status, body::Body};
use weir_protocol::{
    OipError, Reason,
    grpc::{GrpcCode, code_of},
    headers,
};

use super::{
    coding::{ACCEPT_ENCODING, ACCEPTED, Coding, ENCODING},
    messages::PREFIX_BYTES,
};
use crate::infer::Rejection;

/// Most bytes of a status's message: clients take 8 KiB of headers, in which a byte may become three.
const MESSAGE_BYTES: usize = 2048;

pub(crate) type Response = http::Response<Body>;

/// A part of an answer that is sent piece by piece.
pub(super) enum Part {
    /// Framed messages.
    Messages(Bytes),
    /// How the call ended.
    End(HeaderMap),
}

/// A message with its prefix, compressed if so wished.
///
/// # Errors
/// `internal` for a message that the prefix cannot hold.
pub(super) fn framed(message: &impl prost::Message, coding: Option<Coding>) -> Result<Bytes, OipError> {
    let mut buffer = Vec::new();
    append(&mut buffer, message, coding)?;
    Ok(buffer.into())
}

/// Appends a framed message to others.
///
/// # Errors
/// As [`framed`].
pub(super) fn append(
    buffer: &mut Vec<u8>,
    message: &impl prost::Message,
    coding: Option<Coding>,
) -> Result<(), OipError> {
    let compressed = coding.map(|coding| coding.compress(&message.encode_to_vec())).transpose()?;
    let length = compressed.as_ref().map_or_else(|| message.encoded_len(), Bytes::len);
    let too_long =
        |_| OipError::new(Reason::Internal, format!("the answer has {length} bytes: gRPC allows 4 GiB"));
    buffer.reserve(PREFIX_BYTES + length);
    buffer.put_u8(u8::from(compressed.is_some()));
    buffer.put_u32(u32::try_from(length).map_err(too_long)?);
    match compressed {
        Some(compressed) => buffer.put(compressed),
        // A Vec grows: there is always room.
        None => message.encode(buffer).map_err(|error| OipError::new(Reason::Internal, error.to_string()))?,
    }
    Ok(())
}

/// An answer of one message.
pub(super) fn unary(message: Bytes, coding: Option<Coding>) -> Response {
    let trailers = async { Some(Ok(ok())) };
    with_body(Body::new(Full::new(message).with_trailers(trailers)), coding)
}

/// An answer that comes piece by piece; the last one is its end.
pub(super) fn stream(parts: impl Stream<Item = Part> + Send + 'static, coding: Option<Coding>) -> Response {
    let frames = parts.map(|part| match part {
        Part::Messages(bytes) => Ok::<_, Status>(Frame::data(bytes)),
        Part::End(trailers) => Ok(Frame::trailers(trailers)),
    });
    with_body(Body::new(StreamBody::new(frames)), coding)
}

/// An error, in headers alone. A gateway (`trusted`) is told when the call was not started.
pub(super) fn rejected(rejection: &Rejection, trusted: bool) -> Response {
    let mut response = with_body(Body::empty(), None);
    response.headers_mut().extend(status(rejection, trusted));
    response
}

/// The status of a call that went well.
pub(super) fn ok() -> HeaderMap {
    let status = HeaderValue::from(u16::from(GrpcCode::Ok.number()));
    HeaderMap::from_iter([(Status::GRPC_STATUS, status)])
}

/// The status of an error, with its reason.
pub(super) fn status(rejection: &Rejection, trusted: bool) -> HeaderMap {
    let reason = rejection.error.reason;
    let code = Code::from(i32::from(code_of(reason).number()));
    let mut map = HeaderMap::new();
    let message = &rejection.error.message;
    let message = message.get(..message.floor_char_boundary(MESSAGE_BYTES)).unwrap_or_default();
    // Fails for a message that no header can hold; percent-encoding leaves none.
    let _ = Status::new(code, message).add_header(&mut map);
    map.insert(HeaderName::from_static(headers::REASON), HeaderValue::from_static(reason.name()));
    if let Some(seconds) = rejection.retry_after() {
        map.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(refusal) = rejection.refusal.filter(|_| trusted) {
        map.insert(HeaderName::from_static(headers::REFUSED), HeaderValue::from_static(refusal.name()));
    }
    map
}

/// Says which model version answered.
pub(super) fn served(response: &mut Response, served: &str) {
    // Names hold nothing that a header cannot.
    if let Ok(value) = HeaderValue::try_from(served) {
        response.headers_mut().insert(HeaderName::from_static(headers::SERVED), value);
    }
}

fn with_body(body: Body, coding: Option<Coding>) -> Response {
    let mut response = Response::new(body);
    let map = response.headers_mut();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    map.insert(HeaderName::from_static(ACCEPT_ENCODING), HeaderValue::from_static(ACCEPTED));
    if let Some(coding) = coding {
        map.insert(HeaderName::from_static(ENCODING), HeaderValue::from_static(coding.name()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_length_is_a_header_that_clients_take() {
        for character in ["x", "\u{1f980}"] {
            let error = OipError::bad_request(character.repeat(100_000));
            let map = status(&error.into(), false);
            let bytes: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!((2048..8192).contains(&bytes), "{character}: {bytes}");
            assert_eq!(
                (&map["grpc-status"], &map["weir-reason"]),
                (&"3".parse().unwrap(), &"bad-request".parse().unwrap())
            );
        }
    }
}
