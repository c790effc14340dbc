//! Calls that the gateway answers itself: health, metadata and statistics of the fleet, and what it does not let clients
//! do.
//!
//! Called by [`super`] with the method; reads the request's message where the answer depends on it.

use bytes::Bytes;
use pingora::proxy::Session;
use prost::Message;
use tonic_health::pb::HealthCheckRequest;
use weir_protocol::{
    OipError, Reason,
    grpc::{
        GrpcCall, ModelReadyResponse, ModelStatisticsRequest, RepositoryIndexRequest, ServerLiveResponse,
        ServerMetadataResponse, ServerReadyResponse,
    },
    headers,
};

use super::{
    answer,
    encoding::{Encoding, Inflated},
    reader::Reader,
};
use crate::{
    proxy::{
        Proxy,
        context::Context,
        fleet::CONTROL_ELSEWHERE,
        local::{self, Step, Stop},
        names::{self, Asked, Call, Names, Seen},
        overloaded,
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
///
/// # Errors
/// That of `asked` when the request itself is wrong.
pub(super) fn model_ready(snapshot: &Snapshot, asked: Result<Asked, OipError>) -> Result<Answer, OipError> {
    let ready = match asked {
        Ok(asked) => local::serves(snapshot, &asked),
        // As Triton has it: what is not known is not ready. Its client would raise on a status.
        Err(error) if is_about_what_there_is(error.reason) => false,
        Err(error) => return Err(error),
    };
    Ok(Answer::message(&ModelReadyResponse { ready }))
}

fn is_about_what_there_is(reason: Reason) -> bool {
    matches!(reason, Reason::NotReady | Reason::Starting | Reason::ModelNotFound | Reason::VersionNotFound)
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
            Inflated { bytes, cut: false } => Bytes::from(bytes),
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

/// The model version that statistics are asked of; `None` for all models.
fn statistics_of(
    session: &Session,
    ctx: &Context,
    request: ModelStatisticsRequest,
) -> Result<Option<Asked>, OipError> {
    let header = session.req_header();
    if request.name.is_empty() && !header.headers.contains_key(headers::CLIENT_MODEL) {
        return Ok(None);
    }
    let seen = Seen { model: request.name, version: request.version };
    let names = Names::in_body(seen, &header.headers)?;
    names::resolve(&ctx.snapshot, header, names, Call::Grpc(GrpcCall::ModelStatistics)).map(Some)
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
            GrpcCall::ServerMetadata => {
                Answer::message(&ServerMetadataResponse::from(respond::server_metadata()))
            }
            GrpcCall::RepositoryModelLoad | GrpcCall::RepositoryModelUnload => {
                return Err(OipError::new(Reason::Forbidden, CONTROL_ELSEWHERE).into());
            }
            GrpcCall::HealthCheck => {
                let request: HealthCheckRequest = only_message(session, ctx, encoding).await?;
                self.check(session, &request.service)?
            }
            GrpcCall::HealthWatch => {
                let request: HealthCheckRequest = only_message(session, ctx, encoding).await?;
                return self.watch(session, ctx, &request.service).await;
            }
            GrpcCall::Reflection => return self.reflect(session, ctx).await,
            GrpcCall::ModelStatistics => {
                let request: ModelStatisticsRequest = only_message(session, ctx, encoding).await?;
                let asked = statistics_of(session, ctx, request)?;
                Answer::message(&*self.statistics_message(ctx, asked.as_ref()).await?)
            }
            GrpcCall::RepositoryIndex => {
                let request: RepositoryIndexRequest = only_message(session, ctx, encoding).await?;
                Answer::message(&Self::index_message(ctx, request.ready))
            }
            GrpcCall::ModelReady
            | GrpcCall::ModelMetadata
            | GrpcCall::ModelInfer
            | GrpcCall::ModelStreamInfer
            | GrpcCall::ModelConfig => {
                return Err(OipError::new(Reason::Internal, "this call is a worker's to answer").into());
            }
        };
        Ok(Step::Answer(answer))
    }

    /// Takes a call's place among those that last without a worker for as long as their clients like. They have a limit
    /// of their own: of the requests in flight they would take what inferences need.
    pub(super) fn admit_watch(&self, ctx: &mut Context) -> Result<(), OipError> {
        let limit = ctx.snapshot.config.limits.watches;
        let permit = self.registry.watches().admit();
        ctx.permit = Some(permit.ok_or_else(|| overloaded(limit, "watches (limits.watches)"))?);
        Ok(())
    }

    /// Ends a stream in which nothing was asked.
    pub(super) async fn end_empty(&self, session: &mut Session, ctx: &mut Context) -> Result<Step, Stop> {
        answer::begin(session, ctx).map_err(Stop::Gone)?;
        answer::end(session, ctx, None).await.map_err(Stop::Gone)?;
        ctx.answered_here = true;
        Ok(Step::Answered)
    }
}
