//! A server of another kind that speaks the Open Inference Protocol, and OpenAI's interface beside it.
//!
//! It has no load report and knows no header of Weir's. A test says whether it is ready, whether it numbers its
//! versions and whether it has a repository index.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use weir_protocol::grpc::{ModelInferRequest, ModelInferResponse};

use crate::{
    reply::{self, Answer, Whole},
    stub::Seen,
};

/// INVALID_ARGUMENT.
const INVALID_ARGUMENT: u16 = 3;
/// UNIMPLEMENTED.
const UNIMPLEMENTED: u16 = 12;

/// What such a server offers.
#[derive(Debug, Clone)]
pub struct ForeignSpec {
    /// Its one model.
    pub model: String,
    /// The version it gives the model; `None` = it does not number versions, and refuses requests that name one.
    pub version: Option<u64>,
    /// Whether it has a repository index.
    pub has_index: bool,
    /// Whether it speaks gRPC; otherwise such a call gets an answer of the web.
    pub has_grpc: bool,
}

/// A running server. It lives as long as the runtime.
#[derive(Debug, Clone)]
pub struct ForeignServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spec: ForeignSpec,
    ready: AtomicBool,
    seen: Mutex<Vec<Seen>>,
}

impl ForeignServer {
    /// Listens on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(spec: ForeignSpec) -> Result<Self> {
        let listener = TcpListener::bind(crate::port::free()?).await?;
        let shared = Arc::new(Shared { spec, ready: AtomicBool::new(true), seen: Mutex::default() });
        let server = Self { address: listener.local_addr()?, shared: shared.clone() };
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tasks.spawn(reply::serve(stream, move |request| shared.answer(request)));
            }
        });
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line of its `[[worker]]` that says that it speaks gRPC there too.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("grpc_url = \"http://{}\"", self.address)
    }

    /// What it says of its readiness from now on.
    pub fn set_ready(&self, ready: bool) {
        self.shared.ready.store(ready, Ordering::Relaxed);
    }

    /// Every request for an answer of a model so far; questions about state are not counted.
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
        if reply::is_grpc(&request) {
            return match self.spec.has_grpc {
                true => self.answer_grpc(request),
                false => reply::json(404, &json!({ "error": "foreign: what is gRPC?" })),
            };
        }
        let path = request.uri().path().to_owned();
        let about = match &self.spec.version {
            Some(version) => path.replace(&format!("/versions/{version}"), ""),
            None => path.clone(),
        };
        let rest = about.strip_prefix(&format!("/v2/models/{}", self.spec.model));
        match (path.as_str(), rest) {
            ("/v2/health/live", _) => reply::json(200, &json!({ "live": true })),
            ("/v2/health/ready", _) | (_, Some("/ready")) => {
                let ready = self.ready.load(Ordering::Relaxed);
                reply::json(if ready { 200 } else { 503 }, &json!({ "ready": ready }))
            }
            ("/v2", _) => reply::json(200, &json!({ "name": "foreign", "version": "1", "extensions": [] })),
            ("/v2/repository/index", _) if self.spec.has_index => reply::json(200, &self.index()),
            (_, Some("")) => reply::json(200, &self.metadata()),
            (_, Some("/infer")) => self.noted(request, &self.inferred()),
            (_, Some("/generate")) => self.noted(request, &json!({ "text_output": "generated" })),
            (path, _) if path.starts_with("/v1/") => self.noted(request, &json!({ "object": "foreign" })),
            _ => reply::json(404, &json!({ "error": "foreign: no such path" })),
        }
    }

    fn noted(&self, request: Whole, answer: &Value) -> Answer {
        self.seen().push(request.into());
        reply::json(200, answer)
    }

    /// One inference, of any inputs; it insists on its own names.
    fn answer_grpc(&self, request: Whole) -> Answer {
        if !request.uri().path().ends_with("/ModelInfer") {
            return reply::grpc_error(UNIMPLEMENTED, "foreign: no such method");
        }
        let asked: ModelInferRequest = reply::message(&request).unwrap_or_default();
        self.seen().push(request.into());
        let version = self.spec.version.map(|version| version.to_string()).unwrap_or_default();
        let is_ours = asked.model_version.is_empty() || asked.model_version == version;
        if asked.model_name != self.spec.model || !is_ours {
            return reply::grpc_error(INVALID_ARGUMENT, "foreign: no such model");
        }
        let (model_name, id) = (asked.model_name, asked.id);
        reply::grpc(&ModelInferResponse {
            model_name,
            model_version: version,
            id,
            ..ModelInferResponse::default()
        })
    }

    fn index(&self) -> Value {
        let state = if self.ready.load(Ordering::Relaxed) { "READY" } else { "UNAVAILABLE" };
        let mut model = json!({ "name": self.spec.model, "state": state, "reason": "" });
        if let (Some(version), Some(fields)) = (self.spec.version, model.as_object_mut()) {
            fields.insert("version".to_owned(), version.to_string().into());
        }
        json!([model])
    }

    fn metadata(&self) -> Value {
        let versions: Vec<_> = self.spec.version.iter().map(u64::to_string).collect();
        let tensor = |name: &str| json!({ "name": name, "datatype": "FP32", "shape": [-1, 4] });
        json!({
            "name": self.spec.model, "versions": versions, "platform": "foreign",
            "inputs": [tensor("x")], "outputs": [tensor("y")],
        })
    }

    fn inferred(&self) -> Value {
        let output = json!({ "name": "y", "datatype": "FP32", "shape": [1], "data": [1.0] });
        json!({ "model_name": self.spec.model, "outputs": [output] })
    }
}
