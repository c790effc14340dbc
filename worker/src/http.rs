//! The REST front: connections, and which call goes where.
//!
//! HTTP/1.1 with keep-alive, and HTTP/2 for clients that begin with it. Knows nothing of tensors; an inference is
//! `infer`'s. Every answer is made by `respond`, every body is read by `body`.

pub(crate) mod body;
pub(crate) mod budget;
mod calls;
mod coding;
pub(crate) mod head;
mod inference;
mod inflate;
mod linger;
pub(crate) mod peer;
mod repository;
mod respond;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

pub use self::budget::BodyBudget;
use self::{linger::Lingering, peer::Peer};
use crate::{server::Worker, shutdown::Phase, tasks::Tasks};

/// Longest time until a connection's first request has come, and over HTTP/1.1 for every later request's head to
/// arrive, the idle time before it included. Long, because a gateway keeps idle connections, and one that closes under
/// a request costs a retry.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Most header fields of a request.
const MAX_HEADERS: usize = 128;

/// Pause after the system had no more sockets to give, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the worker closes. Each is served by a task of `connections`.
pub async fn serve(worker: Arc<Worker>, listener: TcpListener, connections: Tasks) {
    let mut closing = pin!(worker.shutdown.reached(Phase::Closing));
    loop {
        let accepted = tokio::select! {
            () = &mut closing => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let connection = connection(Arc::clone(&worker), stream, address, connections.clone());
                connections.spawn("connection", connection);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends when the first request is too late; never once it came. hyper itself waits without limit for the bytes that
/// tell HTTP/1.1 from HTTP/2.
async fn silent(first_request: &Notify) {
    if tokio::time::timeout(HEAD_TIMEOUT, first_request.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

async fn connection(worker: Arc<Worker>, stream: TcpStream, address: SocketAddr, tasks: Tasks) {
    // Or small answers wait 40 ms for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let peer = Peer::new(address, &worker.config.gateway);
    let shutdown = worker.shutdown.clone();
    let (stream, unread) = Lingering::new(stream);
    let begun = Arc::new(Notify::new());
    let first_request = Arc::clone(&begun);
    let service = service_fn(move |request: Request<Incoming>| {
        begun.notify_one();
        let (worker, unread) = (Arc::clone(&worker), unread.clone());
        async move { Ok::<_, Infallible>(calls::answer(&worker, peer, request, &unread).await) }
    });
    let mut builder = auto::Builder::new(tasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS);
    builder.http2().timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let closing = shutdown.reached(Phase::Closing);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = silent(&first_request) => return,
        () = closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "a connection ended");
    }
}
