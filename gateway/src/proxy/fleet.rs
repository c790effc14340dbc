//! Answers that speak for the whole fleet: statistics and the repository index over REST.
//!
//! What they say is found by [`crate::fleet`]; here a request becomes a question and its result an answer, within the
//! request's own deadline. Called by [`super::local`], and by the gRPC side for the same answers as messages.

use std::sync::Arc;

use bytes::BytesMut;
use pingora::proxy::Session;
use tokio::time::timeout;
use weir_protocol::{
    Bytes, OipError, Reason,
    grpc::{ModelStatisticsResponse, RepositoryIndexResponse},
};

use super::{
    Proxy,
    body::in_time,
    context::Context,
    local::{self, Stop},
    names::Asked,
    respond::{self, Answer},
};
use crate::fleet::{self, IndexRequest, Reader, Subject};

/// What clients are told who would load or unload a model.
pub(super) const CONTROL_ELSEWHERE: &str =
    "models are loaded and unloaded through the gateway's admin listener only";
/// Largest body of a call for the index: an object with one key.
const MAX_INDEX_REQUEST_BYTES: Bytes = Bytes::kib(64);

impl Proxy {
    /// `GET /v2/models/stats`, or that of the model that was asked about.
    pub(super) async fn statistics(&self, ctx: &Context, asked: Option<&Asked>) -> Result<Answer, OipError> {
        let sum = self.statistics_message(ctx, asked).await?;
        Ok(Answer::json(&*sum))
    }

    /// The same as a message.
    pub(super) async fn statistics_message(
        &self,
        ctx: &Context,
        asked: Option<&Asked>,
    ) -> Result<Arc<ModelStatisticsResponse>, OipError> {
        let subject = asked.map(|asked| Subject {
            model: asked.model.clone(),
            version: asked.version_named.then_some(asked.version),
        });
        let sum = timeout(ctx.deadline.left(), self.fleet.statistics(subject)).await;
        sum.map_err(|_| ctx.deadline.missed())?
    }

    /// `POST /v2/repository/index`; its body may say that only what is ready is wanted.
    pub(super) async fn repository_index(
        &self,
        session: &mut Session,
        ctx: &Context,
    ) -> Result<Answer, Stop> {
        let asked = IndexRequest::parse(&small_body(session, ctx).await?)?;
        Ok(Answer::json(&Self::index_message(ctx, asked.ready).models))
    }

    /// The same as a message.
    pub(super) fn index_message(ctx: &Context, ready_only: bool) -> RepositoryIndexResponse {
        fleet::index(&ctx.snapshot, ready_only, Reader::Client)
    }
}

/// The whole body of a call that has next to none.
async fn small_body(session: &mut Session, ctx: &Context) -> Result<BytesMut, Stop> {
    if local::waits_to_send(session) {
        respond::go_on(session).await.map_err(Stop::Gone)?;
    }
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = session.read_request_body().await.map_err(Stop::Gone)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_INDEX_REQUEST_BYTES.as_usize() {
                let message = format!("the body is too large: at most {MAX_INDEX_REQUEST_BYTES} here");
                return Err(OipError::new(Reason::BodyTooLarge, message).into());
            }
        }
        Ok(body)
    };
    in_time(ctx.snapshot.config.timeouts.body.min(ctx.deadline.left()), reading).await?
}
