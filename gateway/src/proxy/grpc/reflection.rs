//! Server reflection, v1 and v1alpha: what the services are, for clients that were not built with their definition.
//!
//! The answers are tonic's; here its service is given what the client sends, and the client what the service answers.
//! Rare, so the service is made anew for each call. Called by [`super::own`].

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use pingora::proxy::Session;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep},
};
use tonic::{
    body::Body,
    codec::CompressionEncoding::{Deflate, Gzip},
    codegen::Service,
};
use tonic_reflection::server::Builder;
use weir_protocol::{OipError, Reason, grpc::DESCRIPTOR_SET};

use super::answer;
use crate::proxy::{
    Proxy,
    context::Context,
    local::{Step, Stop},
};

/// Pieces of the client's stream that wait for the service, which answers a message before it reads the next.
const WAITING: usize = 1;
/// Between two looks at whether the stream should end.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Proxy {
    /// Answers ServerReflectionInfo until the client ends it, is silent for too long, or the gateway stops.
    pub(super) async fn reflect(&self, session: &mut Session, ctx: &mut Context) -> Result<Step, Stop> {
        self.admit_watch(ctx)?;
        let (asking, asked) = mpsc::channel(WAITING);
        let service = serve(request(session, asked)?).await?;
        answer::begin(session, ctx).map_err(Stop::Gone)?;
        let end = self.relay(session, ctx, asking, service.into_body()).await.map_err(Stop::Gone)?;
        answer::end(session, ctx, end).await.map_err(Stop::Gone)?;
        ctx.answered_here = true;
        Ok(Step::Answered)
    }

    /// Carries pieces both ways; answers why the stream ends, if not well.
    async fn relay(
        &self,
        session: &mut Session,
        ctx: &Context,
        asking: Sender<Bytes>,
        mut answers: Body,
    ) -> pingora::Result<Option<OipError>> {
        let mut asking = Some(asking);
        let mut quiet_since = Instant::now();
        loop {
            if self.registry.stopping() {
                return Ok(Some(OipError::new(Reason::Draining, "the gateway is stopping: ask again")));
            }
            if ctx.deadline.passed() {
                return Ok(Some(ctx.deadline.missed()));
            }
            if quiet_since.elapsed() > ctx.snapshot.config.timeouts.stream_idle {
                return Ok(Some(OipError::new(Reason::BodyTooSlow, "nothing was asked for too long")));
            }
            // A piece is read only when there is room for it: a service that waits for its answers to be taken must
            // not be waited for.
            let room = asking.clone();
            tokio::select! {
                answer = answers.frame() => match answer {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => answer::send(session, data).await?,
                        Err(_trailers) => return Ok(None),
                    },
                    Some(Err(_)) | None => return Ok(None),
                },
                piece = piece(session, room.as_ref()), if asking.is_some() => {
                    quiet_since = Instant::now();
                    if !piece? {
                        asking = None;
                    }
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// Hands the next piece of the client's stream to the service; false when the client has ended it.
async fn piece(session: &mut Session, asking: Option<&Sender<Bytes>>) -> pingora::Result<bool> {
    let Some(asking) = asking else { return Ok(false) };
    // Nobody takes what is asked of a service that has ended.
    let Ok(room) = asking.reserve().await else { return Ok(false) };
    let Some(piece) = session.read_request_body().await? else { return Ok(false) };
    room.send(piece);
    Ok(true)
}

/// The client's request with a body that is fed from `pieces`.
fn request(session: &Session, pieces: Receiver<Bytes>) -> Result<Request<Body>, OipError> {
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
    });
    let header = session.req_header();
    let mut request = Request::post(header.uri.path());
    if let Some(fields) = request.headers_mut() {
        fields.clone_from(&header.headers);
    }
    request.body(Body::new(StreamBody::new(pieces))).map_err(|error| broken(&error))
}

/// Lets the service of the version that is asked for begin its answer.
async fn serve(request: Request<Body>) -> Result<Response<Body>, OipError> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    if request.uri().path().starts_with("/grpc.reflection.v1alpha.") {
        let service = builder.build_v1alpha().map_err(|error| broken(&error))?;
        Ok(call(service.accept_compressed(Gzip).accept_compressed(Deflate), request).await)
    } else {
        let service = builder.build_v1().map_err(|error| broken(&error))?;
        Ok(call(service.accept_compressed(Gzip).accept_compressed(Deflate), request).await)
    }
}

async fn call<S>(mut service: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn broken(error: &dyn std::error::Error) -> OipError {
    tracing::error!(%error, "cannot describe the gRPC services");
    OipError::new(Reason::Internal, "the gateway failed; its log says more")
}
