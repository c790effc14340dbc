//! Server reflection, v1 and v1alpha: what the services are, for clients that were not built with their definition.
//!
//! The one part of the front that is tonic's. Rare, so the services are made anew for each call.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tonic::{
    body::Body,
    codec::CompressionEncoding::{Deflate, Gzip},
    codegen::Service,
};
use tonic_reflection::server::Builder;
use weir_protocol::{OipError, Reason, Refusal, grpc::DESCRIPTOR_SET};

use super::answer::{self, Response};
use crate::{
    infer::Rejection,
    shutdown::{Phase, Shutdown},
};

/// Longest question: a name. The library makes room for all that a message promises, and ends the call above.
const QUESTION_BYTES: usize = 16 << 10;

/// Whether a path is the older version's.
fn is_alpha(path: &str) -> bool {
    path.starts_with("/grpc.reflection.v1alpha.")
}

/// Answers ServerReflectionInfo. Ends when the worker closes.
///
/// # Errors
/// `internal` when the descriptors cannot be read: a mistake in the build.
pub(super) async fn answer(request: Request<Incoming>, shutdown: Shutdown) -> Result<Response, OipError> {
    let broken = |error| {
        tracing::error!(%error, "cannot describe the gRPC services");
        OipError::new(Reason::Internal, "internal error; see the worker's log")
    };
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let alpha = is_alpha(request.uri().path());
    // Both ways: the service reads its requests in a task of its own, which would keep the connection.
    let requests = |body| Body::new(StreamBody::new(until_closing(body, shutdown.clone(), None)));
    let request = request.map(requests);
    let response = if alpha {
        let service = builder.build_v1alpha().map_err(broken)?.max_decoding_message_size(QUESTION_BYTES);
        call(service.accept_compressed(Gzip).accept_compressed(Deflate), request).await
    } else {
        let service = builder.build_v1().map_err(broken)?.max_decoding_message_size(QUESTION_BYTES);
        call(service.accept_compressed(Gzip).accept_compressed(Deflate), request).await
    };
    let end = answer::status(&Rejection::refused(Refusal::Draining), false);
    Ok(response.map(|body| Body::new(StreamBody::new(until_closing(body, shutdown.clone(), Some(end))))))
}

async fn call<S>(mut service: S, request: Request<Body>) -> Response
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The frames of a body until the worker closes, then the trailers `end`.
fn until_closing<B>(
    body: B,
    shutdown: Shutdown,
    end: Option<HeaderMap>,
) -> impl Stream<Item = Result<Frame<Bytes>, B::Error>> + Send
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin,
{
    let next = move |body: Option<B>| {
        let (shutdown, end) = (shutdown.clone(), end.clone());
        async move {
            let mut body = body?;
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Closing) => Some((Ok(Frame::trailers(end?)), None)),
                frame = body.frame() => frame.map(|frame| (frame, Some(body))),
            }
        }
    };
    stream::unfold(Some(body), next)
}
