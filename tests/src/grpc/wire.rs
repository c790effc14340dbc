//! A gRPC exchange as it looks on the wire: HTTP status, headers, frames and trailers.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Body, Frame},
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};
use weir_protocol::headers;

/// For one whole exchange.
const LIMIT: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct WireReply {
    /// The HTTP status code.
    pub http: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// All frames.
    pub body: Bytes,
    /// The trailers; `None` when the headers were all there was.
    pub trailers: Option<HeaderMap>,
}

/// A message in its frame: not compressed, of the length that it has.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// A request as a gRPC client writes it, for `path` and with `body` as its frames.
///
/// # Errors
/// The path or address makes no request.
pub fn request(address: SocketAddr, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
    let request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    Ok(request.body(Full::new(body))?)
}

/// Sends a request without ending its body, and waits for the answer.
///
/// # Errors
/// No whole answer came within a minute.
pub async fn send_and_wait(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<WireReply> {
    let request = request.map(|body| {
        let frames = body.into_data_stream().map(|data| data.map(Frame::data));
        StreamBody::new(frames.chain(stream::pending()))
    });
    tokio::time::timeout(LIMIT, exchange(address, request)).await.context("no answer in time")?
}

/// Sends frames over a connection of its own and reads nothing of the answer.
///
/// # Errors
/// Nobody accepts, or the path makes no request.
pub async fn send_unread(address: SocketAddr, path: &str, frames: Vec<Bytes>) -> Result<Connection> {
    let (head, _) = request(address, path, Bytes::new())?.into_parts();
    let frames = stream::iter(frames.into_iter().map(|frame| Ok::<_, Infallible>(Frame::data(frame))));
    let request = Request::from_parts(head, StreamBody::new(frames));
    let (mut sender, connection) = connect(address).await?;
    connection.0.execute(async move {
        let _answer = sender.send_request(request).await;
        std::future::pending::<()>().await;
    });
    Ok(connection)
}

/// Sends a request over a connection of its own.
///
/// # Errors
/// No whole answer came within a minute.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<WireReply> {
    tokio::time::timeout(LIMIT, exchange(address, request)).await.context("no answer in time")?
}

async fn exchange<B>(address: SocketAddr, request: Request<B>) -> Result<WireReply>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let (mut sender, _connection) = connect(address).await?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(WireReply {
        http: parts.status.as_u16(),
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    })
}

async fn connect<B>(address: SocketAddr) -> Result<(SendRequest<B>, Connection)>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let tasks = Connection::default();
    let (sender, connection) = http2::handshake(tasks.0.clone(), TokioIo::new(stream)).await?;
    tasks.0.execute(async move {
        // An error is the peer's end.
        let _ = connection.await;
    });
    Ok((sender, tasks))
}

/// Everything that runs for one connection. Dropping it closes the socket at once, whatever is still to be sent.
#[derive(Debug, Default)]
pub struct Connection(Tasks);

#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}

impl WireReply {
    /// `grpc-status`, where the answer has it.
    ///
    /// # Errors
    /// It has none, or one that is no number.
    pub fn status(&self) -> Result<u16> {
        let place = self.trailers.as_ref().unwrap_or(&self.headers);
        let value = place.get("grpc-status").with_context(|| format!("no grpc-status: {self:?}"))?;
        Ok(value.to_str()?.parse()?)
    }

    /// Checks that this is an error as gRPC wants it, headers only, and with the reason that every error of Weir has.
    ///
    /// # Errors
    /// It is another answer.
    pub fn is_error(&self, status: u16, reason: &str) -> Result<()> {
        let header = |name: &str| self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        ensure!(self.http == 200, "HTTP status: {self:?}");
        ensure!(header("content-type").starts_with("application/grpc"), "content-type: {self:?}");
        ensure!(self.trailers.is_none() && self.body.is_empty(), "not headers only: {self:?}");
        ensure!(self.status()? == status, "wanted grpc-status {status}: {self:?}");
        ensure!(header(headers::REASON) == reason, "wanted {reason}: {self:?}");
        ensure!(!header("grpc-message").is_empty(), "no grpc-message: {self:?}");
        Ok(())
    }
}
