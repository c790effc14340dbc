//! `/v2/repository`: the index of the fleet, and loading and unloading models on its workers.
//!
//! The protocol's own paths, so that stock clients can be pointed at the admin listener; a call needs what every
//! write needs here. The repository's name in a path is accepted and ignored.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_protocol::{ModelName, OipError, ids::IdError};

use super::{Admin, AdminError};
use crate::fleet::{self, Action, Controlled, IndexRequest, Reader};

/// What a path of this module names, the repository aside.
#[derive(Deserialize)]
pub(super) struct Named {
    model: String,
}

/// `POST /v2/repository[/R]/index`, with `{"ready": true}` for what takes inferences only.
pub(super) async fn index(
    State(admin): State<Arc<Admin>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AdminError> {
    let asked = IndexRequest::parse(&body?)?;
    let snapshot = admin.registry.snapshot_full();
    Ok(Json(fleet::index(&snapshot, asked.ready, Reader::Operator).models).into_response())
}

/// `POST /v2/repository[/R]/models/M/load`
pub(super) async fn load(
    admin: State<Arc<Admin>>,
    names: Result<Path<Named>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AdminError> {
    control(&admin, names?, Action::Load, body?).await
}

/// `POST /v2/repository[/R]/models/M/unload`
pub(super) async fn unload(
    admin: State<Arc<Admin>>,
    names: Result<Path<Named>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AdminError> {
    control(&admin, names?, Action::Unload, body?).await
}

async fn control(
    admin: &Admin,
    Path(Named { model }): Path<Named>,
    action: Action,
    body: Bytes,
) -> Result<Response, AdminError> {
    let model: ModelName =
        model.parse().map_err(|error: IdError| AdminError::Bad(format!("model name: {error}")))?;
    let controlled = admin.fleet.control(model, action, body).await?;
    Ok(answer(&controlled))
}

/// 200 when every worker did it; otherwise the worst status. Either way with what each of them said.
fn answer(controlled: &Controlled) -> Response {
    let said = controlled.said.iter().map(|said| {
        let mut row = json!({ "worker": said.worker, "status": said.status });
        if let (Some(row), Some(error)) = (row.as_object_mut(), &said.error) {
            row.insert("error".to_owned(), Value::from(error.as_str()));
        }
        row
    });
    let mut body = json!({ "workers": said.collect::<Vec<_>>() });
    if let (Some(body), Some(error)) = (body.as_object_mut(), controlled.error()) {
        body.insert("error".to_owned(), Value::from(error));
    }
    let status = StatusCode::from_u16(controlled.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, Json(body)).into_response()
}

impl From<BytesRejection> for AdminError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Bad(rejection.body_text()),
        }
    }
}

impl From<OipError> for AdminError {
    fn from(error: OipError) -> Self {
        match error.reason.status() {
            404 => Self::NotFound(error.message),
            400 => Self::Bad(error.message),
            _ => Self::Unavailable(error.message),
        }
    }
}
