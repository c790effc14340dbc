//! Every answer of the REST front: bodies, statuses and headers, in one place.
//!
//! Here is the one match from a rejection to a response. Head and body leave together (one write), so no small answer
//! waits for an acknowledgement.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY},
};
use http_body_util::Full;
use serde::Serialize;
use weir_protocol::{OipError, Reason, codec::Encoded, headers};

use super::coding::{self, Coding};
use crate::infer::Rejection;

pub(super) type Response = http::Response<Full<Bytes>>;

/// 200 with a JSON body.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => with_body(StatusCode::OK, "application/json", body.into()),
        Err(error) => {
            tracing::error!(%error, "cannot write an answer as JSON");
            rejected(&OipError::new(Reason::Internal, "internal error; see the worker's log").into(), false)
        }
    }
}

/// 200 with JSON that is text already.
pub(super) fn document(json: &'static str) -> Response {
    with_body(StatusCode::OK, "application/json", Bytes::from_static(json.as_bytes()))
}

/// 200 with the metrics.
pub(super) fn metrics(text: String) -> Response {
    with_body(StatusCode::OK, "text/plain; version=0.0.4", text.into())
}

/// 200 with an inference's result, which is compressed as `coding` says.
pub(super) fn answered(encoded: Encoded, coding: Option<Coding>) -> Response {
    let kind = if encoded.json_len.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = with_body(StatusCode::OK, kind, encoded.body);
    if let Some(length) = encoded.json_len {
        let name = HeaderName::from_static(headers::INFERENCE_HEADER_CONTENT_LENGTH);
        response.headers_mut().insert(name, HeaderValue::from(length));
    }
    if let Some(coding) = coding {
        let map = response.headers_mut();
        map.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        map.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// An error as OIP JSON. A gateway (`trusted`) is told when the request was not started.
pub(super) fn rejected(rejection: &Rejection, trusted: bool) -> Response {
    let reason = rejection.error.reason;
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_body(status, "application/json", rejection.error.body().into());
    let map = response.headers_mut();
    map.insert(HeaderName::from_static(headers::REASON), HeaderValue::from_static(reason.name()));
    if let Some(seconds) = rejection.retry_after() {
        map.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if reason == Reason::UnsupportedEncoding {
        map.insert(ACCEPT_ENCODING, coding::OFFERED);
    }
    if let Some(refusal) = rejection.refusal.filter(|_| trusted) {
        map.insert(HeaderName::from_static(headers::REFUSED), HeaderValue::from_static(refusal.name()));
    }
    response
}

/// Names what the other verb would have been.
pub(super) fn allow(response: &mut Response, method: &'static str) {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
}

/// Says which model version answered.
pub(super) fn served(response: &mut Response, served: &str) {
    // Names hold nothing that a header cannot.
    if let Ok(value) = HeaderValue::try_from(served) {
        response.headers_mut().insert(HeaderName::from_static(headers::SERVED), value);
    }
}

/// Repeats the client's own request id.
pub(super) fn echo_id(response: &mut Response, request: &HeaderMap) {
    if let Some(id) = request.get(headers::CLIENT_REQUEST_ID) {
        response.headers_mut().insert(HeaderName::from_static(headers::CLIENT_REQUEST_ID), id.clone());
    }
}

/// Ends the connection after this answer (HTTP/1.1 only).
pub(super) fn close(response: &mut Response) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn with_body(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
