//! A worker that is none: answers like one, notes what it was sent, and says what a test wants it to say.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use http::HeaderMap;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use weir_protocol::{grpc::ModelInferResponse, headers};

use crate::reply::{self, Answer, Whole};

/// UNAVAILABLE, of a refusal over gRPC.
const UNAVAILABLE: u16 = 14;

/// A stand-in for a worker that serves version 1 of one model, in REST and gRPC. It lives as long as the runtime.
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
    /// Its body.
    pub body: bytes::Bytes,
}

impl From<Whole> for Seen {
    fn from(request: Whole) -> Self {
        let (parts, body) = request.into_parts();
        Self { path: parts.uri.path().to_owned(), headers: parts.headers, body }
    }
}

impl StubWorker {
    /// Listens on a free port and reports `model` as serving. Inferences are answered at once, with `headers` added;
    /// over gRPC one with `weir-refused` is answered UNAVAILABLE.
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
                let shared = shared.clone();
                tasks.spawn(reply::serve(stream, move |request| shared.answer(request)));
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

    fn answer(&self, request: Whole) -> Answer {
        let is_grpc = reply::is_grpc(&request);
        if !is_grpc && !request.uri().path().ends_with("/infer") {
            return reply::json(200, &self.report());
        }
        self.seen().push(request.into());
        let mut answer = match is_grpc {
            false => reply::json(200, &self.inferred()),
            true if self.headers.contains_key(headers::REFUSED) => reply::grpc_error(UNAVAILABLE, "refused"),
            true => reply::grpc(&ModelInferResponse {
                model_name: self.model.clone(),
                model_version: "1".to_owned(),
                ..ModelInferResponse::default()
            }),
        };
        answer.headers_mut().extend(self.headers.clone());
        answer
    }

    fn inferred(&self) -> serde_json::Value {
        let output = json!({ "name": "y", "datatype": "FP32", "shape": [1], "data": [1.0] });
        json!({ "model_name": self.model, "model_version": "1", "outputs": [output] })
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
