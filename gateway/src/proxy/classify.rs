//! Decides whether a request is well formed and what it asks for, from its header alone.
//!
//! Only the protocol's methods and paths pass; everything that two parsers could read differently is refused.
//! Names are resolved here: a route's conditions first, then what the fleet knows.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Version as HttpVersion, header};
use pingora::{http::RequestHeader, proxy::Session};
use weir_config::gateway::Limits;
use weir_protocol::{
    ModelName, OipError, Reason, Version, headers,
    rest::{RestCall, Target},
};
use weir_routing::{Exclusions, Labels, Policy, Unresolved};

use crate::registry::Snapshot;

/// Most bytes of a client's request id; a longer one is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What a request asks of the fleet, every name resolved.
#[derive(Debug)]
pub(super) struct Asked {
    /// The call, with names as the client wrote them.
    pub(super) call: RestCall,
    /// The model that answers.
    pub(super) model: ModelName,
    /// Its version.
    pub(super) version: Version,
    /// Whether client or route named the version; else it is the directory's choice.
    pub(super) version_named: bool,
    /// How a replica is picked.
    pub(super) policy: Policy,
    /// Labels that the worker must carry.
    pub(super) labels: Arc<Labels>,
    /// The route that matched, for the access log.
    pub(super) route: Option<String>,
}

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

/// The client's own time limit (`x-timeout-ms`).
pub(super) fn client_timeout(fields: &HeaderMap) -> Result<Option<Duration>, OipError> {
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

/// Finds the model version that a call means: the first matching route's wishes, else the name as it stands.
pub(super) fn resolve(
    snapshot: &Snapshot,
    request: &RequestHeader,
    call: RestCall,
) -> Result<Asked, OipError> {
    let Some(Target { model, version }) = call.target() else {
        return Err(OipError::new(Reason::Internal, "a call without a model has nothing to resolve"));
    };
    let field = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let rule = snapshot.routes.find(model, host(request), field);
    let labels = rule.map(|rule| rule.labels.clone()).unwrap_or_default();
    let wanted_model = rule.and_then(|rule| rule.to_model.as_ref()).unwrap_or(model);
    let version = version.as_ref().and_then(weir_protocol::VersionRef::number);
    let wanted_version = rule.and_then(|rule| rule.to_version).or(version);
    let (known, pool) = snapshot
        .directory
        .resolve(wanted_model, wanted_version, &labels)
        .map_err(|unresolved| unresolved_error(wanted_model, wanted_version, &unresolved))?;
    let policy = rule.and_then(|rule| rule.policy).unwrap_or(known.policy);
    let logged = rule.filter(|_| snapshot.config.gateway.access_log);
    let route = logged.map(|rule| rule.name.clone());
    let (model, version) = (pool.model.clone(), pool.version);
    Ok(Asked { model, version, version_named: wanted_version.is_some(), policy, labels, route, call })
}

/// The host a client asked for: `Host`, or `:authority` on HTTP/2, without its port.
fn host(request: &RequestHeader) -> Option<&str> {
    let field = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let text = field.or_else(|| request.uri.authority().map(http::uri::Authority::as_str))?;
    if text.starts_with('[') {
        return text.split_inclusive(']').next();
    }
    text.split(':').next()
}

fn unresolved_error(model: &ModelName, version: Option<Version>, unresolved: &Unresolved) -> OipError {
    match unresolved {
        Unresolved::Starting => OipError::new(
            Reason::Starting,
            format!(
                "model '{model}' is not known yet: some workers have not reported; try again in a moment"
            ),
        ),
        Unresolved::UnknownModel => OipError::new(
            Reason::ModelNotFound,
            format!(
                "no worker has a model '{model}': check the name against GET /v1/models of the admin API"
            ),
        ),
        Unresolved::UnknownVersion { known } => {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            let asked = version.map(|v| v.to_string()).unwrap_or_default();
            OipError::new(
                Reason::VersionNotFound,
                format!("model '{model}' has no version {asked}: known versions are {}", known.join(", ")),
            )
        }
        Unresolved::NotReady => not_ready(model),
    }
}

/// What to answer when a model is known and nothing can take the request.
pub(super) fn not_ready(model: &ModelName) -> OipError {
    not_ready_because(model, &Exclusions::default())
}

/// The same, with how many workers were left out for which reason.
pub(super) fn not_ready_because(model: &ModelName, excluded: &Exclusions) -> OipError {
    let reasons: Vec<_> =
        excluded.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" (workers: {})", reasons.join(", ")) };
    let message = format!("model '{model}' is known, but no worker can serve it now{why}; try again later");
    OipError::new(Reason::NotReady, message)
}

#[cfg(test)]
mod tests;
