//! What the tests stand on: a repository on disk, a worker on loopback, a client, and a model that waits for a word.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use parking_lot::{Condvar, Mutex};
use tokio::{net::TcpStream, sync::Semaphore};
use weir_batching::QueueSettings;
use weir_config::WorkerConfig;
use weir_protocol::{Bytes as Size, Datatype};

use crate::{
    backend::{Backend, BackendError, InputBatch, OutputBatch},
    device::Cpu,
    lanes::Served,
    model::{ModelSpec, lifecycle::Event},
    server::{Server, Worker},
    shutdown::Phase,
    tasks::Tasks,
};

/// A model that echoes rows of two floats, through the synthetic backend, without taking time.
pub(crate) const ECHO: &str = r#"
backend = "synthetic"
max_batch_size = 4
[[input]]
name = "x"
datatype = "FP32"
shape = [-1, 2]
[[output]]
name = "y"
datatype = "FP32"
shape = [-1, 2]
[synthetic]
base = "0s"
per_item = "0s"
"#;

/// A request for one row of [`ECHO`].
pub(crate) const ECHO_ROW: &str =
    r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,-2.0]}]}"#;

/// A queue that waits for nobody, of a model that runs one batch at a time.
pub(crate) const fn queue(max_batch_rows: u32, max_queued_rows: u32) -> QueueSettings {
    QueueSettings {
        max_batch_rows,
        max_queue_delay: Duration::ZERO,
        preferred_batch_rows: Vec::new(),
        max_queued_rows,
        default_timeout: None,
        ageing: Duration::from_secs(1),
        lanes: 1,
        costs: Vec::new(),
        useful_rows: Vec::new(),
    }
}

/// A model repository in a temporary folder.
pub(crate) struct Repository(tempfile::TempDir);

impl Repository {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A repository with [`ECHO`] as version 1 of `echo`.
    pub(crate) fn echo() -> Self {
        Self::new().with("echo", ECHO, &[1])
    }

    pub(crate) fn with(self, model: &str, toml: &str, versions: &[u64]) -> Self {
        fs::create_dir_all(self.path().join(model)).unwrap();
        for version in versions {
            fs::create_dir_all(self.path().join(model).join(version.to_string())).unwrap();
        }
        fs::write(self.path().join(model).join("model.toml"), toml).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A running worker. Dropping it drops its tasks with the test's runtime.
pub(crate) struct Running {
    pub(crate) worker: Arc<Worker>,
    pub(crate) address: SocketAddr,
    tasks: Tasks,
    repository: Repository,
}

impl Running {
    /// A worker that serves the repository, once everything is settled.
    pub(crate) async fn start(repository: Repository) -> Self {
        Self::with(repository, "").await
    }

    /// As [`Self::start`], with lines to add to worker.toml.
    pub(crate) async fn with(repository: Repository, toml: &str) -> Self {
        let running = Self::unloaded(repository, toml, true).await;
        while !running.worker.store.is_settled() {
            tokio::task::yield_now().await;
        }
        running
    }

    /// A worker whose `echo` runs on a [`Gate`].
    pub(crate) async fn gated(toml: &str, queue: QueueSettings) -> (Self, Arc<Gate>) {
        Self::gated_as(ECHO, toml, queue).await
    }

    /// As [`Self::gated`], with another model.toml.
    pub(crate) async fn gated_as(model: &str, toml: &str, queue: QueueSettings) -> (Self, Arc<Gate>) {
        let gate = Gate::new();
        let repository = Repository::new().with("echo", model, &[1]);
        (Self::backed(repository, toml, queue, Arc::clone(&gate) as _).await, gate)
    }

    /// A worker whose only model runs on the given backend, in a queue that no warm-up has measured for.
    pub(crate) async fn backed(
        repository: Repository,
        toml: &str,
        queue: QueueSettings,
        backend: Arc<dyn Backend>,
    ) -> Self {
        let running = Self::unloaded(repository, toml, false).await;
        let worker = &running.worker;
        let replica = worker.store.replicas().next().unwrap();
        let config = worker.store.model(&replica.model).unwrap().config.clone().unwrap();
        let spec = Arc::new(ModelSpec::new(replica.model.clone(), replica.version, &config));
        let (metrics, statistics) = (replica.metrics.clone(), Arc::clone(&replica.statistics));
        let served = Served::new(spec, backend, metrics, statistics);
        let queue = Arc::new(worker.store.lanes().add(served, queue));
        for event in [Event::Load, Event::WarmUp, Event::Serve(queue)] {
            replica.advance(event);
        }
        running
    }

    /// A worker that listens; nothing is loaded unless `load`.
    pub(crate) async fn unloaded(repository: Repository, toml: &str, load: bool) -> Self {
        let server = Server::bind(config(&repository, toml), Cpu::new(Size::mib(1 << 30)), 7).await.unwrap();
        let (worker, address, tasks) =
            (Arc::clone(server.worker()), server.address().unwrap(), Tasks::default());
        if load {
            server.load().unwrap();
        }
        tasks.spawn("worker", server.run());
        Self { worker, address, tasks, repository }
    }

    /// Where its models are.
    pub(crate) fn repository(&self) -> &Path {
        self.repository.path()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path), "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Request::post(path), body).await
    }

    /// Infers [`ECHO_ROW`] and checks the result.
    pub(crate) async fn assert_serves(&self) {
        let reply = self.post("/v2/models/echo/infer", ECHO_ROW).await;
        assert_eq!(
            (reply.status, &reply.json()["outputs"][0]["data"]),
            (200, &serde_json::json!([1.5, -2.0]))
        );
    }

    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        let request = request.header("host", "test").body(Full::new(body.into())).unwrap();
        self.connect().await.send(request).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn("client", async move { _ = connection.await });
        Connection(sender)
    }

    pub(crate) async fn connect_http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(self.tasks.clone(), stream).await.unwrap();
        self.tasks.spawn("client", async move { _ = connection.await });
        sender
    }

    /// What runs beside the test.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Runs a future beside the test.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::sync::oneshot::Receiver<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.tasks.spawn("beside", async move { _ = sender.send(future.await) });
        receiver
    }

    /// Asks the worker to stop.
    pub(crate) fn stop(&self) {
        self.worker.shutdown.enter(Phase::Draining);
    }

    /// Waits until the worker and all clients are done.
    pub(crate) async fn ended(&self) {
        assert!(self.tasks.wait(std::time::Duration::from_secs(60)).await, "the worker does not end");
    }

    /// Waits until the number of requests in flight is as given.
    pub(crate) async fn in_flight(&self, count: usize) {
        while self.worker.shutdown.in_flight() != count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many rows are queued.
    pub(crate) async fn queued(&self, rows: u64) {
        while self.worker.store.replicas().map(|replica| replica.load().queued).sum::<u64>() != rows {
            tokio::task::yield_now().await;
        }
    }
}

fn config(repository: &Repository, toml: &str) -> WorkerConfig {
    let file = repository.path().join("worker.toml");
    let worker = format!("version = 1\n[worker]\nname = \"w-1\"\nrepository = \".\"\n{toml}");
    let mut config = WorkerConfig::parse(&worker, &file).unwrap();
    config.worker.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// A keep-alive connection.
pub(crate) struct Connection(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Reply {
        self.0.ready().await.unwrap();
        let (head, body) = self.0.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        let request = Request::post(path).header("host", "test");
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    /// Whether a request gets any answer.
    pub(crate) async fn is_answered(&mut self, request: Request<Full<Bytes>>) -> bool {
        self.0.send_request(request).await.is_ok()
    }

    /// Waits until the worker has closed the connection.
    pub(crate) async fn closed(self) {
        while !self.0.is_closed() {
            tokio::task::yield_now().await;
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error message; checks that the answer is a well-formed OIP error.
    pub(crate) fn error(&self) -> String {
        assert!(StatusCode::from_u16(self.status).unwrap().as_u16() >= 400, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert!(!self.header("weir-reason").is_empty(), "{self:?}");
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// A model that echoes its first input once it is told to.
pub(crate) struct Gate {
    /// A permit per forward pass that has begun.
    pub(crate) entered: Semaphore,
    open: Mutex<usize>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { entered: Semaphore::new(0), open: Mutex::new(0), opened: Condvar::new() })
    }

    /// Lets so many forward passes through, now or later.
    pub(crate) fn open(&self, passes: usize) {
        *self.open.lock() += passes;
        self.opened.notify_all();
    }

    /// As [`Self::entered`], on a thread that may wait.
    pub(crate) fn entered_blocking(&self) {
        while self.entered.try_acquire().map(|permit| permit.forget()).is_err() {
            std::thread::yield_now();
        }
    }

    /// Waits until a forward pass has begun.
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }
}

impl Backend for Gate {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        self.entered.add_permits(1);
        let mut open = self.open.lock();
        while *open == 0 {
            self.opened.wait(&mut open);
        }
        *open -= 1;
        let first = &inputs[0];
        let data = Bytes::from(first.concat());
        Ok(vec![OutputBatch { datatype: Datatype::Fp32, shape: first.shape.clone(), data }])
    }
}
