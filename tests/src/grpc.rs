//! A gRPC client over cleartext HTTP/2: unary calls and streams of inferences.
//!
//! Requests are given as messages or as bytes, so that a test can send what no encoder writes. It keeps no time of its
//! own but a generous limit on each call: a deadline that a test sends is the server's to keep.

mod codec;
pub mod services;
mod stream;
pub mod wire;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, body::Body, client::Grpc, codec::CompressionEncoding};
use weir_protocol::grpc::{ModelInferRequest, ModelInferResponse};

use self::codec::Plain;
pub use self::stream::InferStream;

/// For one call, and for one answer of a stream.
const LIMIT: Duration = Duration::from_secs(60);

/// Room for unread bytes, of a stream and of all of them: large messages shall not wait for window updates.
const WINDOW_BYTES: u32 = 1 << 20;

/// The path of a method of the inference service.
#[must_use]
pub fn path(method: &str) -> String {
    format!("/inference.GRPCInferenceService/{method}")
}

/// A client with a connection of its own.
#[derive(Debug, Clone)]
pub struct GrpcClient {
    grpc: Grpc<Pool<HttpConnector, Body>>,
    address: SocketAddr,
}

impl GrpcClient {
    /// A client of the server at `address`. It connects with its first call.
    ///
    /// # Errors
    /// The address makes no URI.
    pub fn of(address: SocketAddr) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .http2_only(true)
            .http2_initial_stream_window_size(WINDOW_BYTES)
            .http2_initial_connection_window_size(WINDOW_BYTES)
            .retry_canceled_requests(false)
            .build(connector);
        let origin = format!("http://{address}").parse()?;
        let grpc = Grpc::with_origin(pool, origin).max_decoding_message_size(usize::MAX);
        Ok(Self { grpc, address })
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends messages in gzip and takes answers in gzip.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        let gzip = CompressionEncoding::Gzip;
        self.grpc = self.grpc.send_compressed(gzip).accept_compressed(gzip);
        self
    }

    /// One unary call of any path, with any bytes as its message.
    ///
    /// # Errors
    /// The status of the answer.
    pub async fn send<A>(&self, path: &str, request: Request<Bytes>) -> Result<Response<A>, Status>
    where
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let path = path.parse().map_err(|_| Status::unknown("no path"))?;
        let call = async {
            grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            grpc.unary(request, path, Plain::default()).await
        };
        within(call).await
    }

    /// One unary call of the inference service.
    ///
    /// # Errors
    /// The status of the answer.
    pub async fn call<A>(&self, method: &str, message: &impl Message) -> Result<A, Status>
    where
        A: Message + Default + 'static,
    {
        self.call_at(&path(method), message).await
    }

    /// One unary call of any path.
    ///
    /// # Errors
    /// The status of the answer.
    pub async fn call_at<A>(&self, path: &str, message: &impl Message) -> Result<A, Status>
    where
        A: Message + Default + 'static,
    {
        let request = Request::new(message.encode_to_vec().into());
        Ok(self.send(path, request).await?.into_inner())
    }

    /// One inference; the metadata of the answer tells who served it.
    ///
    /// # Errors
    /// The status of the answer.
    pub async fn infer(&self, message: &ModelInferRequest) -> Result<Response<ModelInferResponse>, Status> {
        self.send(&path("ModelInfer"), Request::new(message.encode_to_vec().into())).await
    }

    /// A call of any path whose answers are several.
    ///
    /// # Errors
    /// The status of the answer.
    pub async fn watch<A>(&self, path: &str, message: &impl Message) -> Result<Streaming<A>, Status>
    where
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let path = path.parse().map_err(|_| Status::unknown("no path"))?;
        let request = Request::new(message.encode_to_vec().into());
        Ok(within(grpc.server_streaming(request, path, Plain::default())).await?.into_inner())
    }

    /// A stream of inferences that begins with `first`, which may be nothing: a gateway chooses a worker when the first
    /// one comes.
    #[must_use]
    pub fn stream(&self, first: &[ModelInferRequest]) -> InferStream {
        self.stream_with(Request::new(()), first)
    }

    /// The same with metadata of the test's choice.
    #[must_use]
    pub fn stream_with(&self, request: Request<()>, first: &[ModelInferRequest]) -> InferStream {
        InferStream::open(self.grpc.clone(), request, first)
    }
}

/// The text of a metadata entry, empty when it is absent.
#[must_use]
pub fn metadata_of(metadata: &tonic::metadata::MetadataMap, name: &str) -> String {
    metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let limited = tokio::time::timeout(LIMIT, call).await;
    limited.unwrap_or_else(|_| Err(Status::unknown("the test's own limit: no answer in a minute")))
}
