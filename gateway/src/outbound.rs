//! Calls that the gateway makes to workers on its own account: probes, statistics, control of models.
//!
//! One exchange at a time, bounded in time and in bytes, over connections that are kept alive between calls. Knows
//! no path and reads no body: who calls says what to ask and judges the answer. Requests of clients never come
//! through here; those are the proxy's.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use weir_config::gateway::Secret;
use weir_protocol::headers;
use weir_routing::{EndpointKind, EndpointSpec};

/// Characters of a parser's or a system's message that are worth showing.
const MAX_CAUSE_CHARS: usize = 200;

/// Makes calls to workers. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The verb.
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// JSON, or empty.
    pub body: Bytes,
}

impl<'a> Call<'a> {
    /// `GET` of a path.
    #[must_use]
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: Bytes::new() }
    }

    /// `POST` of JSON to a path.
    #[must_use]
    pub fn post(path: &'a str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path, body: body.into() }
    }
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the first byte sent to the last received.
    pub time: Duration,
    /// Largest answer.
    pub bytes: weir_protocol::Bytes,
}

/// A worker's answer, of any status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Where the worker should be.
        address: SocketAddr,
        /// What the system said, innermost cause only.
        cause: String,
    },
    /// No complete answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The answer is larger than it may be.
    #[error("the answer is larger than {0}")]
    TooLarge(weir_protocol::Bytes),
}

impl Outbound {
    /// Makes calls over at most `idle` connections kept open to each worker.
    #[must_use]
    pub fn new(idle: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector) }
    }

    /// Calls a worker. The token goes to Weir workers only: a foreign one has no business with it.
    ///
    /// # Errors
    /// When there is no complete answer within bounds; a status that tells of an error is an answer.
    pub async fn call(
        &self,
        to: &EndpointSpec,
        call: Call<'_>,
        token: Option<&Secret>,
        bounds: Bounds,
    ) -> Result<Reply, CallError> {
        let exchange = tokio::time::timeout(bounds.time, self.exchange(to, call, token, bounds.bytes));
        exchange.await.map_err(|_| CallError::TimedOut(bounds.time))?
    }

    async fn exchange(
        &self,
        to: &EndpointSpec,
        call: Call<'_>,
        token: Option<&Secret>,
        most: weir_protocol::Bytes,
    ) -> Result<Reply, CallError> {
        let unreachable =
            |error: &dyn Error| CallError::Unreachable { address: to.address, cause: innermost(error) };
        let request = request(to, call, token).map_err(|error| unreachable(&error))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), most.as_usize()).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => CallError::TooLarge(most),
            false => unreachable(error.as_ref()),
        })?;
        Ok(Reply { status, body: body.to_bytes() })
    }
}

fn request(to: &EndpointSpec, call: Call<'_>, token: Option<&Secret>) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("http://{}{}", to.address, call.path))
        .header(header::HOST, to.authority.as_str());
    if !call.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let token = token.filter(|_| to.kind == EndpointKind::Weir);
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(token.reveal()).ok()) {
        request = request.header(headers::TOKEN, token);
    }
    request.body(Full::new(call.body))
}

/// The last cause of a chain: "Connection refused", not "client error (Connect)".
fn innermost(error: &dyn Error) -> String {
    let last = std::iter::successors(error.source(), |&error| error.source()).last();
    shortened(&last.unwrap_or(error).to_string())
}

/// As much of a message as is worth showing.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_CAUSE_CHARS).collect()
}
