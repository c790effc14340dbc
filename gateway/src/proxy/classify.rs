//! Decides from its header alone whether a request is well formed, how long it may take, how urgent it is
//! and how it is called in logs.
//!
//! Everything that two parsers could read differently is refused. Knows no model: names are resolved in
//! [`super::names`]. Called by [`super::local`] and [`super::grpc`] before anything else is done.

use std::time::Duration;

use http::{HeaderMap, Version as HttpVersion, header};
use pingora::{http::RequestHeader, proxy::Session};
use weir_config::gateway::Limits;
use weir_protocol::{OipError, Priority, Reason, grpc::timeout, headers};

/// Most bytes of a client's request id; a longer one is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Refuses a request whose length can be read in two ways, or whose header is too large.
///
/// pingora drops `Content-Length` beside `Transfer-Encoding` before any filter runs, so the raw header is searched
/// for it. It also folds equal `Content-Length` fields into one meaning; another parser may not.
pub(super) fn check_framing(session: &Session, limits: &Limits) -> Result<(), OipError> {
    let request = session.req_header();
    let header = Header::of(request);
    if header.encodings > 0 {
        if header.encodings > 1 || !header.chunked {
            return Err(ambiguous("send one Transfer-Encoding: chunked"));
        }
        let raw = session.as_downstream().as_http1().map(|h1| h1.get_headers_raw_bytes());
        if raw.is_some_and(|raw| names_content_length(&raw)) {
            return Err(ambiguous("send Content-Length or Transfer-Encoding, not both"));
        }
    }
    if header.lengths > 1 {
        return Err(ambiguous("send one Content-Length"));
    }
    if request.version == HttpVersion::HTTP_11 && header.hosts != 1 {
        return Err(ambiguous("send one Host header"));
    }
    check_header_size(&header, limits)
}

/// What framing and size depend on, gathered in one pass over the fields.
#[derive(Default)]
struct Header {
    fields: usize,
    bytes: usize,
    hosts: usize,
    /// Stated lengths; a list in one field counts as several.
    lengths: usize,
    encodings: usize,
    chunked: bool,
}

impl Header {
    fn of(request: &RequestHeader) -> Self {
        // 12 = blanks, version and CRLF of the request line; 4 = ": " and CRLF of a field.
        let line = request.method.as_str().len() + request.raw_path().len() + 12;
        let mut header = Self { bytes: line, ..Self::default() };
        for (name, value) in &request.headers {
            header.fields += 1;
            header.bytes += name.as_str().len() + value.len() + 4;
            if *name == header::HOST {
                header.hosts += 1;
            } else if *name == header::CONTENT_LENGTH {
                header.lengths += 1 + value.as_bytes().iter().filter(|b| **b == b',').count();
            } else if *name == header::TRANSFER_ENCODING {
                header.encodings += 1;
                header.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
        }
        header
    }
}

fn ambiguous(what: &str) -> OipError {
    OipError::new(Reason::AmbiguousFraming, format!("the request's framing is ambiguous: {what}"))
}

fn names_content_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|b| *b == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME)))
}

fn check_header_size(header: &Header, limits: &Limits) -> Result<(), OipError> {
    if header.fields <= limits.header_fields && header.bytes <= limits.header_bytes.as_usize() {
        return Ok(());
    }
    let message = format!(
        "the header is too large: at most {} fields and {} in all",
        limits.header_fields, limits.header_bytes
    );
    Err(OipError::new(Reason::HeadersTooLarge, message))
}

/// The length that the body claims, refused when above the limit.
pub(super) fn body_length(fields: &HeaderMap, limits: &Limits) -> Result<Option<u64>, OipError> {
    let Some(value) = fields.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let length: u64 = length.ok_or_else(|| ambiguous("Content-Length must be a number"))?;
    if length > limits.body_bytes.0 { Err(too_large(limits)) } else { Ok(Some(length)) }
}

/// What to answer to a body above the limit.
pub(super) fn too_large(limits: &Limits) -> OipError {
    OipError::new(Reason::BodyTooLarge, format!("the body is too large: at most {}", limits.body_bytes))
}

/// The client's request id if it can be put into a log line, else a fresh one of 16 hexadecimal digits.
pub(super) fn request_id(fields: &HeaderMap) -> String {
    let given = fields.get(headers::CLIENT_REQUEST_ID).and_then(|v| v.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES => id.to_owned(),
        _ => format!("{:016x}", rand::random::<u64>()),
    }
}

/// How urgent the client says that its request is; the body may say otherwise.
pub(super) fn client_priority(fields: &HeaderMap) -> Result<Option<Priority>, OipError> {
    let Some(value) = fields.get(headers::CLIENT_PRIORITY) else { return Ok(None) };
    // What is no text is no number either.
    Priority::of_header(headers::CLIENT_PRIORITY, value.to_str().unwrap_or_default()).map(Some)
}

/// The client's own time limit: the smaller of `x-timeout-ms` and `grpc-timeout`.
pub(super) fn client_timeout(fields: &HeaderMap) -> Result<Option<Duration>, OipError> {
    let limits = [x_timeout(fields)?, grpc_timeout(fields)?];
    Ok(limits.into_iter().flatten().min())
}

fn grpc_timeout(fields: &HeaderMap) -> Result<Option<Duration>, OipError> {
    let Some(value) = fields.get(timeout::HEADER) else { return Ok(None) };
    // What is no text is no timeout either.
    timeout::parse(value.to_str().unwrap_or_default()).map(Some)
}

fn x_timeout(fields: &HeaderMap) -> Result<Option<Duration>, OipError> {
    let Some(value) = fields.get(headers::CLIENT_TIMEOUT_MS) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
    let millis = millis.ok_or_else(|| {
        OipError::bad_request(format!(
            "{} must be a positive number of milliseconds",
            headers::CLIENT_TIMEOUT_MS
        ))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests;
