//! The access log: one line per finished request, for machines to read.
//!
//! Decides the fields and their names. Where the line goes (standard output, one JSON object a line) is decided by
//! the subscriber that `main` installs. Written by the proxy's `logging` phase when `[gateway] access_log` is set.

use std::net::SocketAddr;

use weir_protocol::Version;

use super::RequestRecord;

/// Target of access log events; the subscriber routes by it.
pub const TARGET: &str = "access";

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct AccessRecord<'a> {
    /// The request's id, as echoed to the client.
    pub request_id: &'a str,
    /// The client's address, when known.
    pub client: Option<SocketAddr>,
    /// The request's method.
    pub method: &'a str,
    /// The path without its query, as the client sent it.
    pub path: &'a str,
    /// The version that was resolved.
    pub version: Option<Version>,
    /// Name of the `[[route]]` that matched.
    pub route: Option<&'a str>,
    /// `grpc-status` of a gRPC call's answer; the record's status is the HTTP status that says the same.
    pub grpc_status: Option<u32>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// What the metrics were told.
    pub request: &'a RequestRecord<'a>,
}

/// Writes one access log line. Durations are in seconds; fields without a value are left out.
pub fn log_access(record: &AccessRecord<'_>) {
    let request = record.request;
    tracing::info!(
        target: TARGET,
        request_id = record.request_id,
        client = record.client.map(tracing::field::display),
        method = record.method,
        path = record.path,
        model = request.model.map(|m| m.as_str()),
        version = record.version.map(Version::number),
        route = record.route,
        worker = request.worker.map(|w| w.as_str()),
        status = request.status,
        grpc_status = record.grpc_status,
        reason = request.reason.map(|r| r.name()),
        attempts = request.attempts,
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        duration_seconds = request.duration.as_secs_f64(),
        upstream_seconds = request.upstream_duration.map(|d| d.as_secs_f64()),
    );
}
