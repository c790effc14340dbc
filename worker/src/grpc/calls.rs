//! What each method answers.
//!
//! Dispatch over [`GrpcCall`], and the calls that are no inference: what REST answers too comes from the same functions.

use std::sync::Arc;

use http::{HeaderName, Request};
use hyper::body::Incoming;
use tonic_health::pb::HealthCheckRequest;
use weir_protocol::{
    OipError, Reason,
    grpc::{
        GrpcCall, ModelConfigRequest, ModelConfigResponse, ModelMetadataRequest, ModelMetadataResponse,
        ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest, RepositoryIndexRequest,
        RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
        RepositoryModelUnloadResponse, ServerLiveResponse, ServerMetadataResponse, ServerReadyResponse,
    },
    headers,
};

use super::{
    answer::{self, Response},
    health,
    inbound::{Inbound, Terms},
    inference,
    messages::{Message, Messages},
    reflection, stream,
};
use crate::{
    control, http::peer::Peer, infer::Rejection, model::store::Unresolved, server::Worker, tasks::Tasks,
};

/// Answers one call. `tasks` are those that outlive it for a moment.
pub(crate) async fn answer(
    worker: &Arc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    tasks: &Tasks,
) -> Response {
    let trusted = peer.is_trusted(request.headers(), &worker.config.gateway);
    let (parts, body) = request.into_parts();
    let inbound = Inbound { parts, trusted };
    let mut response = match inbound.terms(worker) {
        Ok(terms) => dispatch(worker, &inbound, terms, (body, tasks)).await,
        Err(error) => {
            // Beside the answer: whatever the method is, its client may wait for an answer before it ends.
            Messages::new(worker, body, None, None).drain_beside(worker, tasks);
            rejected(worker, &inbound, &error.into())
        }
    };
    if let Some(id) = inbound.parts.headers.get(headers::CLIENT_REQUEST_ID) {
        response.headers_mut().insert(HeaderName::from_static(headers::CLIENT_REQUEST_ID), id.clone());
    }
    log(&inbound, &response);
    response
}

/// One line a call, at DEBUG; the id is the one in the gateway's log. A stream shows how it began.
fn log(inbound: &Inbound, response: &Response) {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    tracing::debug!(
        request_id = inbound.gateway_id().and_then(|id| id.to_str().ok()),
        path = inbound.parts.uri.path(),
        grpc_status = header("grpc-status").unwrap_or("0"),
        reason = header(headers::REASON),
        "answered"
    );
}

async fn dispatch(
    worker: &Arc<Worker>,
    inbound: &Inbound,
    terms: Terms,
    (body, tasks): (Incoming, &Tasks),
) -> Response {
    if terms.call == GrpcCall::Reflection {
        let request = Request::from_parts(inbound.parts.clone(), body);
        let described = reflection::answer(request, worker.shutdown.clone()).await;
        return described.unwrap_or_else(|error| answer::rejected(&error.into(), inbound.trusted));
    }
    let mut messages = Messages::new(worker, body, terms.coding, Some(terms.call));
    let answered = match terms.call {
        GrpcCall::ModelStreamInfer => return stream::answer(worker, inbound, terms, messages, tasks),
        GrpcCall::ModelInfer => inference::answer(worker, inbound, &terms, &mut messages).await,
        _ => unary(worker, inbound, &terms, &mut messages).await,
    };
    match answered {
        Ok(response) => response,
        Err(rejection) => refuse(worker, inbound, messages, rejection).await,
    }
}

/// The answer to a call that failed before it reached a model version. First what still comes is thrown away: an answer that leaves
/// earlier can be lost, together with what it says of trying elsewhere.
async fn refuse(worker: &Worker, inbound: &Inbound, messages: Messages, rejection: Rejection) -> Response {
    messages.drain().await;
    rejected(worker, inbound, &rejection)
}

fn rejected(worker: &Worker, inbound: &Inbound, rejection: &Rejection) -> Response {
    worker.telemetry.record_error(None, rejection.error.reason);
    answer::rejected(rejection, inbound.trusted)
}

/// Answers a call of one message that is no inference.
async fn unary(
    worker: &Arc<Worker>,
    inbound: &Inbound,
    terms: &Terms,
    messages: &mut Messages,
) -> Result<Response, Rejection> {
    let message = messages.only().await?;
    let coding = terms.answers;
    let framed = match terms.call {
        GrpcCall::ServerLive => answer::framed(&ServerLiveResponse { live: true }, coding),
        GrpcCall::ServerReady => {
            answer::framed(&ServerReadyResponse { ready: worker.ready().is_ok() }, coding)
        }
        GrpcCall::ServerMetadata => {
            answer::framed(&ServerMetadataResponse::from(control::server_metadata()), coding)
        }
        GrpcCall::HealthCheck => {
            let HealthCheckRequest { service } = message.decode().await?;
            answer::framed(&health::check(worker, &service)?, coding)
        }
        GrpcCall::HealthWatch => {
            let HealthCheckRequest { service } = message.decode().await?;
            return Ok(answer::stream(health::watch(Arc::clone(worker), service), None));
        }
        GrpcCall::RepositoryIndex => {
            let RepositoryIndexRequest { ready, .. } = message.decode().await?;
            answer::framed(&control::index(&worker.store, ready, inbound.trusted), coding)
        }
        GrpcCall::RepositoryModelLoad => answer::framed(&load(worker, message).await?, coding),
        GrpcCall::RepositoryModelUnload => answer::framed(&unload(worker, message).await?, coding),
        _ => return about_model(worker, terms, message).await,
    };
    Ok(answer::unary(framed?, coding))
}

/// Answers a call about a model.
async fn about_model(worker: &Worker, terms: &Terms, message: Message) -> Result<Response, Rejection> {
    let (store, coding) = (&worker.store, terms.answers);
    let unresolved = |unresolved: Unresolved| terms.unresolved(&unresolved);
    let framed = match terms.call {
        GrpcCall::ModelReady => {
            let ModelReadyRequest { name, version } = message.decode().await?;
            let target = terms.target(&name, &version)?;
            // As Triton has it: what is not known is not ready. Its client would raise on a status.
            let ready = store.resolve(&target.model, target.version.as_ref()).is_ok();
            answer::framed(&ModelReadyResponse { ready }, coding)
        }
        GrpcCall::ModelMetadata => {
            let ModelMetadataRequest { name, version } = message.decode().await?;
            let target = terms.subject(&name, &version)?;
            let metadata = control::model_metadata(store, &target).map_err(unresolved)?;
            answer::framed(&ModelMetadataResponse::from(metadata), coding)
        }
        GrpcCall::ModelConfig => {
            let ModelConfigRequest { name, version } = message.decode().await?;
            let target = terms.target(&name, &version)?;
            let config = control::model_config(store, &target).map_err(unresolved)?;
            answer::framed(&ModelConfigResponse { config: Some(config) }, coding)
        }
        GrpcCall::ModelStatistics => {
            let ModelStatisticsRequest { name, version } = message.decode().await?;
            let is_all = name.is_empty() && terms.route.is_none();
            let target = if is_all { None } else { Some(terms.subject(&name, &version)?) };
            answer::framed(&control::statistics(store, target.as_ref()).map_err(unresolved)?, coding)
        }
        _ => Err(OipError::new(Reason::Internal, "a method without an answer")),
    };
    Ok(answer::unary(framed?, coding))
}

async fn load(worker: &Arc<Worker>, message: Message) -> Result<RepositoryModelLoadResponse, Rejection> {
    // Asked before the message is read: who may not load hears that, and not what is wrong with the message.
    control::allow(worker)?;
    let RepositoryModelLoadRequest { model_name, parameters, .. } = message.decode().await?;
    control::load(worker, &name(&model_name)?, parameters.keys().map(String::as_str)).await?;
    Ok(RepositoryModelLoadResponse {})
}

async fn unload(worker: &Arc<Worker>, message: Message) -> Result<RepositoryModelUnloadResponse, Rejection> {
    control::allow(worker)?;
    // No model here depends on another: unload_dependents changes nothing.
    let RepositoryModelUnloadRequest { model_name, .. } = message.decode().await?;
    control::unload(worker, &name(&model_name)?).await?;
    Ok(RepositoryModelUnloadResponse {})
}

fn name(text: &str) -> Result<weir_protocol::ModelName, OipError> {
    text.parse().map_err(|error| OipError::bad_request(format!("model name: {error}")))
}
