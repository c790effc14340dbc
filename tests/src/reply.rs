//! Answers of servers that the harness plays itself, in REST and in gRPC.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use prost::Message;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::grpc::wire;

/// An answer.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A request with all of its body.
pub(crate) type Whole = Request<Bytes>;

/// Serves one connection, HTTP/1.1 or HTTP/2; each request has come whole before it is answered.
pub(crate) async fn serve<A>(stream: TcpStream, answer: A)
where
    A: Fn(Whole) -> Answer + Clone + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answer(Request::from_parts(parts, body)))
        }
    });
    // An error is the peer's end.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Whether a request is gRPC.
pub(crate) fn is_grpc(request: &Whole) -> bool {
    let kind = request.headers().get("content-type");
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The message of a unary gRPC request.
pub(crate) fn message<M: Message + Default>(request: &Whole) -> Option<M> {
    M::decode(request.body().get(5..)?).ok()
}

/// JSON with a status.
pub(crate) fn json(status: u16, body: &Value) -> Answer {
    let mut answer = plain(body.to_string().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    answer
}

/// 200 with a body of any kind.
pub(crate) fn plain(body: Bytes) -> Answer {
    Response::new(Full::from(body).boxed_unsync())
}

/// A gRPC answer of one message, and trailers that say that it went well.
pub(crate) fn grpc(message: &impl Message) -> Answer {
    let trailers = HeaderMap::from_iter([status(0)]);
    let body = Full::new(wire::frame(&message.encode_to_vec()));
    let mut answer = Response::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync());
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

/// A gRPC error: headers only.
pub(crate) fn grpc_error(code: u16, message: &'static str) -> Answer {
    let mut answer = plain(Bytes::new());
    answer.headers_mut().extend([status(code)]);
    answer.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

fn status(code: u16) -> (http::HeaderName, HeaderValue) {
    (http::HeaderName::from_static("grpc-status"), HeaderValue::from(code))
}
