//! Keep-alive connections to one server, HTTP/1.1, one request at a time each.
//!
//! The connection used last is used next, so a run opens as many as it needs at once and no more. Nothing is ever
//! sent twice: a request moves to another connection only while not a byte of it was written.

use std::{io, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::Target;

/// Largest response body that is read.
const MAX_RESPONSE_BYTES: usize = 1 << 30;
/// A server that does not accept within this counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why no response came. The name is a key of the report's `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// No connection could be made.
    #[error("connect")]
    Connect,
    /// The server closed before the response was whole.
    #[error("closed")]
    Closed,
    /// The connection was reset.
    #[error("reset")]
    Reset,
    /// No whole response within the time limit.
    #[error("timeout")]
    TimedOut,
    /// What came is not HTTP, or larger than is read.
    #[error("protocol")]
    Protocol,
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            if let Some(inner) = inner.downcast_ref::<io::Error>() {
                return match inner.kind() {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
                    io::ErrorKind::UnexpectedEof => Self::Closed,
                    _ => Self::Protocol,
                };
            }
            source = inner.source();
        }
        if error.is_parse() { Self::Protocol } else { Self::Closed }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one server.
#[derive(Debug)]
pub struct Connections {
    target: Target,
    idle: Mutex<Vec<Sender>>,
    drivers: TaskTracker,
}

impl Connections {
    /// None yet: they are opened when needed.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self { target, idle: Mutex::new(Vec::new()), drivers: TaskTracker::new() }
    }

    /// The server.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends one request and reads the whole response. Dropping the future closes the connection it used.
    ///
    /// # Errors
    /// [`Failure`]; the time limit is the caller's.
    pub async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        loop {
            let mut sender = self.checkout().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return self.receive(sender, response).await,
                // The server had closed this idle connection: nothing was written, so this is no retry.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
    }

    async fn receive(
        &self,
        sender: Sender,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Response<Bytes>, Failure> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| {
            error.downcast::<hyper::Error>().map_or(Failure::Protocol, |error| Failure::from(*error))
        })?;
        self.lock().push(sender);
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    async fn checkout(&self) -> Result<Sender, Failure> {
        loop {
            let Some(mut sender) = self.lock().pop() else { return self.open().await };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    async fn open(&self) -> Result<Sender, Failure> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.target.address)).await;
        let stream = connected.map_err(|_| Failure::Connect)?.map_err(|_| Failure::Connect)?;
        // Head and body are two writes: without this the second waits for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        self.drivers.spawn(async move {
            // Whatever ends the connection is seen by the request on it.
            let _ = driver.await;
        });
        Ok(sender)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        // A poisoned list is still a list of connections.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
