//! One stream of inferences, as a client holds it.

use bytes::Bytes;
use futures_util::stream::poll_fn;
use hyper_util::client::legacy::{Client as Pool, connect::HttpConnector};
use prost::Message;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Request, Response, Status, Streaming, body::Body, client::Grpc, metadata::MetadataMap};
use weir_protocol::grpc::{ModelInferRequest, ModelStreamInferResponse};

use super::{codec::Plain, path, within};

/// Requests that wait to be sent; [`InferStream::send`] waits when there are more.
const WAITING: usize = 1024;

type Opened = Result<Response<Streaming<ModelStreamInferResponse>>, Status>;

/// A stream of inferences. Dropping it cancels the call.
#[derive(Debug)]
pub struct InferStream {
    requests: Option<mpsc::Sender<Bytes>>,
    opening: JoinSet<Opened>,
    answers: Option<Streaming<ModelStreamInferResponse>>,
    metadata: MetadataMap,
}

impl InferStream {
    pub(super) fn open(
        mut grpc: Grpc<Pool<HttpConnector, Body>>,
        request: Request<()>,
        first: &[ModelInferRequest],
    ) -> Self {
        let (requests, mut waiting) = mpsc::channel::<Bytes>(WAITING.max(first.len()));
        for message in first {
            // There is room for each, and the other end is in hand.
            let _ = requests.try_send(message.encode_to_vec().into());
        }
        let request = request.map(|()| poll_fn(move |context| waiting.poll_recv(context)));
        let mut opening = JoinSet::new();
        opening.spawn(async move {
            let path = path("ModelStreamInfer").parse().map_err(|_| Status::unknown("no path"))?;
            grpc.streaming(request, path, Plain::default()).await
        });
        Self { requests: Some(requests), opening, answers: None, metadata: MetadataMap::new() }
    }

    /// Sends one more request.
    ///
    /// # Errors
    /// The server takes none any more.
    pub async fn send(&self, message: &ModelInferRequest) -> anyhow::Result<()> {
        let requests = self.requests.as_ref().ok_or_else(|| anyhow::anyhow!("finished before"))?;
        Ok(requests.send(message.encode_to_vec().into()).await?)
    }

    /// Says that no more requests come.
    pub fn finish(&mut self) {
        self.requests = None;
    }

    /// The next answer; `None` after a stream that ended well.
    ///
    /// # Errors
    /// The status that the stream ended with.
    pub async fn next(&mut self) -> Result<Option<ModelStreamInferResponse>, Status> {
        within(self.next_answer()).await
    }

    async fn next_answer(&mut self) -> Result<Option<ModelStreamInferResponse>, Status> {
        if let Some(opened) = self.opening.join_next().await {
            let opened = opened.map_err(|error| Status::unknown(error.to_string()))??;
            let (metadata, answers, _) = opened.into_parts();
            (self.metadata, self.answers) = (metadata, Some(answers));
        }
        let Some(answers) = &mut self.answers else { return Ok(None) };
        answers.message().await
    }

    /// Headers of the answer, once the first answer is there.
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }
}
