//! A worker that answers whatever a test says, by turns.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::task::Tasks;

/// What a worker answers to its n-th request (from 1).
pub(crate) type Script = dyn Fn(u64, &Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync;

/// A worker that follows a script until the test ends.
pub(crate) struct Worker {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Requests so far.
    pub(crate) requests: Arc<AtomicU64>,
    /// Connections so far.
    pub(crate) connections: Arc<AtomicU64>,
}

impl Worker {
    /// Listens on a free port.
    pub(crate) async fn start(script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, opened) = (Arc::clone(&requests), Arc::clone(&connections));
        Tasks::new().spawn("worker", async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, SeqCst);
                let (script, counted) = (Arc::clone(&script), Arc::clone(&counted));
                let serve = service_fn(move |request: Request<Incoming>| {
                    let turn = counted.fetch_add(1, SeqCst) + 1;
                    let script = Arc::clone(&script);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        Ok::<_, Infallible>(script(turn, &Request::from_parts(head, body)))
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(socket), serve);
                Tasks::new().spawn("connection", async move { _ = connection.await });
            }
        });
        Self { address, requests, connections }
    }
}

/// An answer of this status.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
