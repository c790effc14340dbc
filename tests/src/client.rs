//! A plain HTTP/1.1 client for single requests, one connection each.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// For one whole exchange.
const LIMIT: Duration = Duration::from_secs(60);

/// A server to ask.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client of the server at `address`.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET path`
    ///
    /// # Errors
    /// No whole response within a minute.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Request::get(path).body(Full::default())?).await
    }

    /// `POST path` with a body of known length.
    ///
    /// # Errors
    /// No whole response within a minute.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Reply> {
        self.send(Request::post(path).body(Full::new(body.into()))?).await
    }

    /// `POST path` with JSON.
    ///
    /// # Errors
    /// No whole response within a minute.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Reply> {
        self.post(path, body.to_string()).await
    }

    /// Any method without a body.
    ///
    /// # Errors
    /// No whole response within a minute.
    pub async fn call(&self, method: Method, path: &str) -> Result<Reply> {
        self.send(Request::builder().method(method).uri(path).body(Full::default())?).await
    }

    /// Any request. The Host header is the address unless the request has one.
    ///
    /// # Errors
    /// No whole response within a minute.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Reply>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        let what = format!("{} {}", request.method(), request.uri());
        let exchange = tokio::time::timeout(LIMIT, self.exchange(request)).await;
        exchange.with_context(|| format!("{what}: no response in time"))?.with_context(|| what)
    }

    async fn exchange<B>(&self, mut request: Request<B>) -> Result<Reply>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        let host = self.address.to_string().parse()?;
        request.headers_mut().entry(header::HOST).or_insert(host);
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The set aborts the connection when this exchange ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// A body of chunks whose length nobody states, so that it travels chunked.
#[derive(Debug, Clone)]
pub struct Chunks {
    first: Option<Bytes>,
    chunk: Bytes,
    left: usize,
}

impl Chunks {
    /// `count` times `chunk`.
    #[must_use]
    pub fn of(chunk: Bytes, count: usize) -> Self {
        Self { first: None, chunk, left: count }
    }

    /// `first`, then `count` times `chunk`.
    #[must_use]
    pub fn led_by(first: Bytes, chunk: Bytes, count: usize) -> Self {
        Self { first: Some(first), ..Self::of(chunk, count) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {self}"))
    }

    /// A header's text, empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The message of an error answer: its body must be `{"error": "..."}` and nothing else.
    ///
    /// # Errors
    /// The status is below 400, or the body another.
    pub fn error(&self) -> Result<String> {
        ensure!(self.status >= 400, "not an error: {self}");
        let json = self.json()?;
        let only = json.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("error"));
        let message =
            only.and_then(Value::as_str).with_context(|| format!("not {{\"error\": ..}}: {self}"))?;
        ensure!(!message.is_empty(), "an empty message: {self}");
        Ok(message.to_owned())
    }

    /// The worker that answered, from `weir-served`; empty when there is none.
    #[must_use]
    pub fn worker(&self) -> &str {
        self.header(weir_protocol::headers::SERVED).rsplit(';').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        write!(f, "status {}, {} {body}", self.status, self.header("weir-reason"))
    }
}
