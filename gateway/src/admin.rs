//! The operator's listener: health, metrics, what the gateway knows, and the few things an operator may do.
//!
//! Plain JSON over HTTP on an address of its own, never on the clients' one. Decides nothing about routing: it
//! shows snapshots of the registry and passes calls on to it and to the reload task. Who may call is decided in
//! [`guard`].

mod config;
mod guard;
mod model;
mod repository;
mod worker;

use std::{io, net::TcpListener, sync::Arc};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, State,
        rejection::{PathRejection, QueryRejection, StringRejection},
    },
    http::{StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_config::gateway::Secret;

use crate::{
    fleet::Fleet,
    registry::{Registry, RegistryError},
    reload::Reload,
    task::Tasks,
};

/// Largest body of a call: a `gateway.toml` to be checked.
const MAX_BODY_BYTES: usize = 4 << 20;

/// What the admin listener works on.
pub struct Admin {
    /// Shown and steered.
    pub registry: Arc<Registry>,
    /// Loads and unloads models.
    pub fleet: Arc<Fleet>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Whose failure makes the process not live.
    pub tasks: Tasks,
    /// Bearer token asked of every call but the health checks; as the process started with.
    pub token: Option<Secret>,
}

/// Every call of the admin listener, guarded.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/workers", get(worker::list))
        .route("/v1/workers/{worker}", get(worker::show))
        .route("/v1/workers/{worker}/drain", post(worker::drain))
        .route("/v1/workers/{worker}/undrain", post(worker::undrain))
        .route("/v1/models", get(model::list))
        .route("/v1/models/{model}", get(model::show))
        .route("/v1/config", get(config::show))
        .route("/v1/config/reload", post(config::reload))
        .route("/v1/config/validate", post(config::validate))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/{repository}/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route("/v2/repository/{repository}/models/{model}/load", post(repository::load))
        .route("/v2/repository/models/{model}/unload", post(repository::unload))
        .route("/v2/repository/{repository}/models/{model}/unload", post(repository::unload))
        .fallback(async |uri: Uri| AdminError::NotFound(format!("there is no {} here", uri.path())))
        .method_not_allowed_fallback(async || AdminError::Method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), guard::check))
        .with_state(admin)
}

/// Serves the admin listener until `stop`.
///
/// # Errors
/// When the listener cannot be used, which its bind has ruled out but for a shortage of resources.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router(admin)).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Why a call did not do what was asked. Every answer is `{"error": "..."}`.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    /// 400: the caller wrote something that cannot be read.
    #[error("{0}")]
    Bad(String),
    /// 401: no token, or another one.
    #[error("this call needs the [admin] token: send 'authorization: Bearer TOKEN'")]
    Token,
    /// 403: this caller may be a web page that was tricked into calling.
    #[error("{0}")]
    Forbidden(String),
    /// 404: no such path, worker or model.
    #[error("{0}")]
    NotFound(String),
    /// 405: the path exists, the verb does not.
    #[error("this path does not take this method")]
    Method,
    /// 413: the body is larger than any configuration.
    #[error("the body is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// 503: not now.
    #[error("{0}")]
    Unavailable(String),
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = (status, Json(json!({ "error": self.to_string() }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<RegistryError> for AdminError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::UnknownWorker(_) => Self::NotFound(error.to_string()),
            RegistryError::Stopped => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<PathRejection> for AdminError {
    fn from(rejection: PathRejection) -> Self {
        Self::Bad(rejection.body_text())
    }
}

impl From<QueryRejection> for AdminError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Bad(rejection.body_text())
    }
}

impl From<StringRejection> for AdminError {
    fn from(rejection: StringRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Bad(rejection.body_text()),
        }
    }
}

/// `GET /livez`: 503 when part of the process has broken and only a restart helps.
async fn live(State(admin): State<Arc<Admin>>) -> Result<Response, AdminError> {
    match admin.tasks.broken() {
        Some(task) => Err(AdminError::Unavailable(format!("the task '{task}' has broken; see the log"))),
        None => Ok(Json(json!({ "live": true })).into_response()),
    }
}

/// `GET /readyz`: 503 while stopping, and at start until every worker has reported or failed a probe.
async fn ready(State(admin): State<Arc<Admin>>) -> Result<Response, AdminError> {
    if admin.registry.stopping() {
        return Err(AdminError::Unavailable("the gateway is stopping".to_owned()));
    }
    if !admin.registry.ready() {
        return Err(AdminError::Unavailable(
            "not every worker has reported or failed its probe yet".to_owned(),
        ));
    }
    Ok(Json(json!({ "ready": true })).into_response())
}

/// `GET /metrics`: docs/METRICS.md.
async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let page = admin.registry.telemetry().render(&admin.registry.gauges());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

#[cfg(test)]
mod tests;
