//! A gRPC client made of HTTP/2 and nothing else, so that every byte on the wire can be right or wrong on purpose.

use std::{convert::Infallible, pin::Pin};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{net::TcpStream, sync::mpsc};
use weir_protocol::grpc::{
    ModelInferRequest, ModelInferResponse, ModelStreamInferResponse, model_infer_request::InferInputTensor,
};

use crate::tests::fixture::Running;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Path of a method of the inference service.
pub(super) fn path(method: &str) -> String {
    format!("/inference.GRPCInferenceService/{method}")
}

/// A message with its prefix.
pub(super) fn framed(message: &impl Message) -> Bytes {
    flagged(0, &message.encode_to_vec())
}

/// Data with a prefix of that flag.
pub(super) fn flagged(flag: u8, data: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(data.len()).unwrap());
    bytes.put_slice(data);
    bytes.freeze()
}

/// A request of one row for [`super::super::fixture::ECHO`], in raw form.
pub(super) fn row(id: &str, values: [f32; 2]) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 2],
        ..Default::default()
    };
    ModelInferRequest {
        model_name: "echo".into(),
        id: id.into(),
        inputs: vec![input],
        raw_input_contents: vec![values.map(f32::to_le_bytes).concat().into()],
        ..Default::default()
    }
}

/// The numbers of a response's only output.
pub(super) fn values(response: &ModelInferResponse) -> Vec<f32> {
    let [raw] = &response.raw_output_contents[..] else { panic!("{response:?}") };
    raw.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// A connection.
#[derive(Clone)]
pub(super) struct Client(SendRequest<Body>);

impl Client {
    pub(super) async fn connect(running: &Running) -> Self {
        let stream = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
        let tasks = running.tasks();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(tasks.clone(), stream).await.unwrap();
        tasks.spawn("client", async move { _ = connection.await });
        Self(sender)
    }

    /// Sends a whole body.
    pub(super) async fn send(&self, request: http::request::Builder, body: Bytes) -> Answer {
        let frames = futures_util::stream::iter([Ok(Frame::data(body))]);
        let response = self.request(request, StreamBody::new(frames).boxed_unsync()).await;
        Answer::of(response).await
    }

    /// Sends one message to a method of the inference service.
    pub(super) async fn unary(&self, method: &str, message: &impl Message) -> Answer {
        self.send(post(&path(method)), framed(message)).await
    }

    /// Infers and decodes the response.
    pub(super) async fn infer(&self, message: &ModelInferRequest) -> ModelInferResponse {
        self.unary("ModelInfer", message).await.message()
    }

    /// Begins a call whose messages are sent and received one by one.
    pub(super) fn open(&self, request: http::request::Builder) -> Call {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            Some((Ok(Frame::data(receiver.recv().await?)), receiver))
        });
        let (client, body) = (self.clone(), StreamBody::new(frames).boxed_unsync());
        let response = Box::pin(async move { client.request(request, body).await });
        Call {
            sender: Some(sender),
            response: Some(response),
            headers: HeaderMap::new(),
            body: None,
            rest: Bytes::new(),
            trailers: None,
        }
    }

    /// Begins a ModelStreamInfer.
    pub(super) fn stream(&self) -> Call {
        self.open(post(&path("ModelStreamInfer")))
    }

    async fn request(&self, request: http::request::Builder, body: Body) -> Response<Incoming> {
        let mut sender = self.0.clone();
        sender.ready().await.unwrap();
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        response
    }
}

/// The head of a call.
pub(super) fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    /// Framed messages.
    pub(super) body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answer {
    async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        Self { headers: head.headers, body: body.to_bytes(), trailers }
    }

    /// The only message of a call that went well.
    pub(super) fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.status(), 0, "{self:?}");
        let mut body = self.body.clone();
        assert_eq!((body.get_u8(), body.get_u32() as usize), (0, body.len()));
        M::decode(body).unwrap()
    }

    pub(super) fn status(&self) -> u8 {
        self.end("grpc-status").parse().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, reason and refusal of a call that went wrong; checks that they came in headers alone.
    pub(super) fn refused(&self) -> (u8, &str, &str) {
        assert!(self.body.is_empty() && self.trailers.is_none(), "{self:?}");
        assert!(!self.header("grpc-message").is_empty(), "{self:?}");
        (self.status(), self.header("weir-reason"), self.header("weir-refused"))
    }

    fn end(&self, name: &str) -> &str {
        let trailer = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailer.map_or_else(|| self.header(name), |value| value.to_str().unwrap())
    }
}

/// A call under way. Dropping it cancels it.
pub(super) struct Call {
    sender: Option<mpsc::UnboundedSender<Bytes>>,
    /// Until it is there.
    response: Option<Pin<Box<dyn Future<Output = Response<Incoming>> + Send>>>,
    headers: HeaderMap,
    body: Option<Incoming>,
    rest: Bytes,
    trailers: Option<HeaderMap>,
}

impl Call {
    pub(super) fn send(&self, message: &impl Message) {
        self.send_bytes(framed(message));
    }

    pub(super) fn send_bytes(&self, bytes: Bytes) {
        self.sender.as_ref().unwrap().send(bytes).unwrap();
    }

    /// Waits for the head of the answer.
    pub(super) async fn head(&mut self) -> &HeaderMap {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await.into_parts();
            (self.headers, self.body) = (head.headers, Some(body));
        }
        &self.headers
    }

    /// Sends nothing more.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    /// The next message; `None` at the end.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        self.head().await;
        loop {
            if let Some((prefix, _)) = self.rest.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if self.rest.len() >= 5 + length {
                    self.rest.advance(5);
                    return Some(M::decode(self.rest.split_to(length)).unwrap());
                }
            }
            match self.body.as_mut().unwrap().frame().await?.unwrap().into_data() {
                Ok(data) => self.rest = [&self.rest[..], &data].concat().into(),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    /// The next response of a stream, which must not be an error.
    pub(super) async fn response(&mut self) -> ModelInferResponse {
        let message: ModelStreamInferResponse = self.next().await.unwrap();
        assert_eq!(message.error_message, "");
        message.infer_response.unwrap()
    }

    /// The next response of a stream, which must be an error: its id and text.
    pub(super) async fn error(&mut self) -> (String, String) {
        let message: ModelStreamInferResponse = self.next().await.unwrap();
        (message.infer_response.unwrap().id, message.error_message)
    }

    /// Status and reason at the end, after which nothing comes.
    pub(super) async fn end(&mut self) -> (u8, String) {
        let more: Option<ModelStreamInferResponse> = self.next().await;
        assert_eq!(more, None);
        let map = self.trailers.as_ref().unwrap_or(&self.headers);
        let text = |name: &str| map.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status").parse().unwrap(), text("weir-reason").to_owned())
    }
}

/// The whole of a stream of bytes in pieces of `size`.
pub(super) fn pieces(bytes: &Bytes, size: usize) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut pieces = Vec::new();
    while rest.has_remaining() {
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    pieces
}
