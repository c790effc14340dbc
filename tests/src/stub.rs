//! A worker that is none: answers like one, notes what it was sent, and says what a test wants it to say.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// A stand-in for a worker that serves version 1 of one model. It lives as long as the runtime.
#[derive(Debug, Clone)]
pub struct StubWorker {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    model: String,
    /// Added to every answer to an inference.
    headers: HeaderMap,
    seen: Mutex<Vec<Seen>>,
}

/// What an inference looked like when it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Path of the request.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
}

impl StubWorker {
    /// Listens on a free port and reports `model` as serving. Inferences are answered at once, with `headers` added.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(name: &str, model: &str, headers: HeaderMap) -> Result<Self> {
        let listener = TcpListener::bind(crate::port::free()?).await?;
        let shared =
            Shared { name: name.to_owned(), model: model.to_owned(), headers, seen: Mutex::default() };
        let stub = Self { address: listener.local_addr()?, shared: Arc::new(shared) };
        let (tasks, shared) = (TaskTracker::new(), stub.shared.clone());
        tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(shared.clone().serve(stream));
            }
        });
        Ok(stub)
    }

    /// Where the gateway finds it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The inferences that came so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let service =
            service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(self.answer(&request)));
        // An error is the peer's end.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let infer = path.ends_with("/infer");
        let body = if infer {
            self.seen().push(Seen { path: path.to_owned(), headers: request.headers().clone() });
            let output = json!({ "name": "y", "datatype": "FP32", "shape": [1], "data": [1.0] });
            json!({ "model_name": self.model, "model_version": "1", "outputs": [output] })
        } else {
            self.report()
        };
        let mut response = Response::new(Full::from(body.to_string()));
        if infer {
            response.headers_mut().extend(self.headers.clone());
        }
        response
    }

    fn report(&self) -> serde_json::Value {
        json!({
            "format": weir_protocol::load::FORMAT, "worker": self.name, "epoch": 1, "seq": 1, "accepting": true,
            "devices": [{ "id": 0, "name": "cpu", "total": 1 << 30, "free": 1 << 30 }],
            "models": [{
                "id": 1, "model": self.model, "version": 1, "state": "serving", "device": 0, "size": 0,
                "max_batch_size": 1, "queued": 0, "in_flight": 0, "arrivals": 0,
            }],
        })
    }
}
