//! Calls that the gateway answers itself: liveness, readiness, server metadata, and what it does not let clients do.
//!
//! Called by [`super`] with the method; reads the request's message where the answer depends on it.

use bytes::Bytes;
use pingora::proxy::Session;
use prost::Message;
use weir_protocol::{
    OipError, Reason,
    grpc::{GrpcCall, ModelReadyResponse, ServerLiveResponse, ServerMetadataResponse, ServerReadyResponse},
};

use super::{
    answer,
    encoding::{Encoding, Inflated},
    frame::framed,
    reader::Reader,
};
use crate::{
    proxy::{
        Proxy,
        context::Context,
        local::{self, Step, Stop},
        names::Asked,
        respond::{self, Answer},
    },
    registry::Snapshot,
};

/// Largest message of a call that is answered here, in bytes: they hold a name or two.
const MESSAGE_BYTES: u64 = 64 * 1024;

/// Whether no worker is involved in a call, whatever its message says.
pub(super) fn is_own(call: GrpcCall) -> bool {
    !call.names_model() || call == GrpcCall::ModelStatistics
}

/// Whether a worker could be sent a call for this model now; unlike over REST, "no" is an answer like any other.
pub(super) fn model_ready(snapshot: &Snapshot, asked: &Asked) -> Result<Answer, OipError> {
    Ok(Answer::message(&ModelReadyResponse { ready: local::serves(snapshot, asked) }))
}

/// Reads the one message of a unary call.
///
/// # Errors
/// `bad-request` when there is none, or it is no such message.
pub(super) async fn only_message<M: Message + Default>(
    session: &mut Session,
    ctx: &Context,
    encoding: Option<Encoding>,
) -> Result<M, Stop> {
    let reading = async {
        let mut reader = Reader::default();
        next_message(&mut reader, session, encoding).await
    };
    let within = ctx.snapshot.config.timeouts.body.min(ctx.deadline.left());
    let message = crate::proxy::body::in_time(within, reading).await??;
    message.ok_or_else(|| OipError::bad_request("the call has no message").into())
}

/// Reads the next message of a call; `None` when the client has ended it.
pub(super) async fn next_message<M: Message + Default>(
    reader: &mut Reader,
    session: &mut Session,
    encoding: Option<Encoding>,
) -> Result<Option<M>, Stop> {
    let Some((prefix, bytes)) = reader.message(session, MESSAGE_BYTES).await? else { return Ok(None) };
    let bytes = match (prefix.compressed, encoding) {
        (false, _) => bytes,
        (true, Some(encoding)) => match encoding.inflate(&bytes, MESSAGE_BYTES)? {
            Inflated { bytes, whole: true } => Bytes::from(bytes),
            Inflated { .. } => return Err(OipError::bad_request("the message is too large").into()),
        },
        (true, None) => {
            return Err(
                OipError::bad_request("a message is compressed, and grpc-encoding does not say how").into()
            );
        }
    };
    M::decode(bytes)
        .map(Some)
        .map_err(|_| OipError::bad_request("the message is no message of this call").into())
}

impl Proxy {
    /// Answers a call that is [`is_own`].
    pub(super) async fn answer_call(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        call: GrpcCall,
        encoding: Option<Encoding>,
    ) -> Result<Step, Stop> {
        let answer = match call {
            GrpcCall::ServerLive => Answer::message(&ServerLiveResponse { live: true }),
            GrpcCall::ServerReady => Answer::message(&ServerReadyResponse { ready: self.registry.ready() }),
            GrpcCall::ServerMetadata => Answer::message(&server_metadata()),
            GrpcCall::RepositoryModelLoad | GrpcCall::RepositoryModelUnload => {
                let message = "models are loaded and unloaded through the gateway's admin listener only";
                return Err(OipError::new(Reason::Forbidden, message).into());
            }
            _ => return Err(OipError::new(Reason::Unsupported, "not offered yet").into()),
        };
        Ok(Step::Answer(answer))
    }

    /// Ends a stream in which nothing was asked.
    pub(super) async fn end_empty(&self, session: &mut Session, ctx: &mut Context) -> Result<Step, Stop> {
        answer::begin(session, ctx).map_err(Stop::Gone)?;
        answer::end(session, ctx, None).await.map_err(Stop::Gone)?;
        ctx.answered_here = true;
        Ok(Step::Answered)
    }
}

/// What REST's `GET /v2` says.
fn server_metadata() -> ServerMetadataResponse {
    let metadata = respond::server_metadata();
    ServerMetadataResponse {
        name: metadata.name,
        version: metadata.version,
        extensions: metadata.extensions.into_iter().map(Into::into).collect(),
    }
}
