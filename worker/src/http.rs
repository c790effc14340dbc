//! Connections, and the REST front: which call goes where.
//!
//! HTTP/1.1 with keep-alive, and HTTP/2 for clients that begin with it; a request of gRPC's content type is `grpc`'s.
//! Knows nothing of tensors; an inference is `infer`'s. Every answer is made by `respond`, every body is read by `body`.

pub(crate) mod body;
pub(crate) mod budget;
mod calls;
pub(crate) mod coding;
pub(crate) mod head;
mod inference;
pub(crate) mod inflate;
mod linger;
pub(crate) mod peer;
mod repository;
mod respond;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::Request;
use http_body_util::Either;
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
use crate::{grpc, server::Worker, shutdown::Phase, tasks::Tasks};

/// Longest time until a connection's first request has come, and over HTTP/1.1 for every later request's head to
/// arrive, the idle time before it included. Long, because a gateway keeps idle connections, and one that closes under
/// a request costs a retry.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Most header fields of a request.
const MAX_HEADERS: usize = 128;

/// Most bytes of an HTTP/2 request's header fields, as HTTP/2 counts them. What a gateway takes.
const HEADER_LIST_BYTES: u32 = 64 << 10;

/// Bytes of one HTTP/2 request that may be under way unread: what 10 Gbit/s and 1 ms there and back need, and some.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Bytes of all requests of an HTTP/2 connection that may be under way unread: 32 streams' worth. A request that waits
/// (for room among the held bodies, say) keeps its stream's window full, and once the connection's is, every other call
/// of the same gateway waits with it. Memory is taken only as far as bytes come.
const CONNECTION_WINDOW_BYTES: u32 = 32 * STREAM_WINDOW_BYTES;

/// Requests of one HTTP/2 connection at a time: a gateway sends those of all its clients over a few connections.
const MAX_STREAMS: u32 = 1024;

/// Silence of an HTTP/2 peer after which it is asked whether it is there. Streams can be silent for hours.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to say so; then it counts as gone, and its streams with it.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

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

/// How connections are spoken to.
fn builder(tasks: Tasks) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(tasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
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
    let streams = tasks.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        begun.notify_one();
        let (worker, unread, tasks) = (Arc::clone(&worker), unread.clone(), tasks.clone());
        async move {
            let is_http2 = request.version() == http::Version::HTTP_2;
            Ok::<_, Infallible>(if is_http2 && grpc::is_grpc(request.headers()) {
                grpc::answer(&worker, peer, request, &tasks).await.map(Either::Left)
            } else {
                calls::answer(&worker, peer, request, &unread).await.map(Either::Right)
            })
        }
    });
    let builder = builder(streams);
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
