//! One `GET /v2/load` to one worker, over a connection that is kept alive between calls.
//!
//! Turns whatever comes back into a report or into one of the failures that an operator can act on. Bounded in
//! time and in bytes. Knows no thresholds and no schedule.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use weir_config::gateway::Secret;
use weir_protocol::{LoadReport, headers, load::FORMAT};

use crate::registry::ProbeFailure;

/// Largest report: about 300 bytes a model version, so some 50,000 of them on one worker.
const MAX_REPORT_BYTES: u64 = 16 << 20;
/// Characters of a parser's or a system's message that are worth showing.
const MAX_CAUSE_CHARS: usize = 200;

/// Asks one worker.
pub(super) struct Fetch {
    address: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Fetch {
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Self { address, client }
    }

    /// The worker's report, or why there is none. `authority` is the Host header, by default the address.
    pub(super) async fn report(
        &self,
        authority: Option<&str>,
        token: Option<&Secret>,
        limit: Duration,
    ) -> Result<LoadReport, ProbeFailure> {
        let request = self.request(authority, token)?;
        let exchange = tokio::time::timeout(limit, self.exchange(request));
        parse(&exchange.await.map_err(|_| ProbeFailure::TimedOut(limit))??)
    }

    fn request(
        &self,
        authority: Option<&str>,
        token: Option<&Secret>,
    ) -> Result<Request<Empty<Bytes>>, ProbeFailure> {
        let mut request = Request::get(format!("http://{}/v2/load", self.address));
        if let Some(authority) = authority {
            request = request.header(header::HOST, authority);
        }
        if let Some(token) = token.and_then(|token| HeaderValue::from_str(token.reveal()).ok()) {
            request = request.header(headers::TOKEN, token);
        }
        request.body(Empty::new()).map_err(|error| self.unreachable(&error))
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Bytes, ProbeFailure> {
        let response = self.client.request(request).await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => return Err(ProbeFailure::Forbidden),
            other => return Err(ProbeFailure::Status(other.as_u16())),
        }
        let limit = usize::try_from(MAX_REPORT_BYTES).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => ProbeFailure::TooLarge(weir_protocol::Bytes(MAX_REPORT_BYTES)),
            false => self.unreachable(error.as_ref()),
        })?;
        Ok(body.to_bytes())
    }

    fn unreachable(&self, error: &dyn Error) -> ProbeFailure {
        ProbeFailure::Unreachable { address: self.address, cause: innermost(error) }
    }
}

/// The part of any report, of whatever format, that says which format it is.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

fn parse(body: &[u8]) -> Result<LoadReport, ProbeFailure> {
    let not_a_report = |error: serde_json::Error| ProbeFailure::NotAReport(shortened(&error.to_string()));
    // The format first: a report of another one may well miss the fields of ours.
    let head: Head = serde_json::from_slice(body).map_err(not_a_report)?;
    if head.format != FORMAT {
        return Err(ProbeFailure::Format { found: head.format, expected: FORMAT });
    }
    serde_json::from_slice(body).map_err(not_a_report)
}

/// The last cause of a chain: "Connection refused", not "client error (Connect)".
fn innermost(error: &dyn Error) -> String {
    let last = std::iter::successors(error.source(), |&error| error.source()).last();
    shortened(&last.unwrap_or(error).to_string())
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_CAUSE_CHARS).collect()
}
