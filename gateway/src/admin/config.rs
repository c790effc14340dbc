//! `/v1/config`: what is in use, whether the file says the same, and reading or checking it on demand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{State, rejection::StringRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use weir_config::{
    GatewayConfig, Problems,
    gateway::{ModelDoor, ModelSection},
};
use weir_protocol::Version;

use super::{Admin, AdminError};
use crate::reload::{ReloadOutcome, ReloadStatus};

/// `GET /v1/config`
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.registry.snapshot_full();
    Json(json!({
        "generation": snapshot.generation,
        "file": admin.reload.file().display().to_string(),
        "last_reload": outcome(&admin.reload.status()),
        "settings": settings(&snapshot.config),
    }))
    .into_response()
}

/// `POST /v1/config/reload`: 200 when the file is in use now, 422 with its problems when it is not.
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Result<Response, AdminError> {
    let status = admin.reload.now().await?;
    let code = match status.outcome {
        ReloadOutcome::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadOutcome::Applied { .. } | ReloadOutcome::Unchanged => StatusCode::OK,
    };
    Ok((code, Json(outcome(&status))).into_response())
}

/// `POST /v1/config/validate` with the text of a `gateway.toml`: 200, or 422 with every problem. Changes nothing.
pub(super) async fn validate(
    State(admin): State<Arc<Admin>>,
    text: Result<String, StringRejection>,
) -> Result<Response, AdminError> {
    let text = text?;
    let file = admin.reload.file().to_owned();
    // Off the runtime: host names are resolved on the way.
    let parsed = tokio::task::spawn_blocking(move || GatewayConfig::parse(&text, &file)).await;
    match parsed.map_err(|_| AdminError::Unavailable("the check broke off; see the log".to_owned()))? {
        Ok(config) => Ok(Json(json!({ "valid": true, "settings": settings(&config) })).into_response()),
        Err(found) => {
            let answer = json!({ "valid": false, "error": found.to_string(), "problems": problems(&found) });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response())
        }
    }
}

fn outcome(status: &ReloadStatus) -> Value {
    let mut said = match &status.outcome {
        ReloadOutcome::Applied { generation } => json!({ "outcome": "applied", "generation": generation }),
        ReloadOutcome::Unchanged => json!({ "outcome": "unchanged" }),
        ReloadOutcome::Rejected(found) => {
            json!({ "outcome": "rejected", "error": found.to_string(), "problems": problems(found) })
        }
    };
    if let Some(said) = said.as_object_mut() {
        said.insert("needs_restart".to_owned(), json!(status.needs_restart));
    }
    said
}

fn problems(found: &Problems) -> Vec<Value> {
    let problem = |p: &weir_config::Problem| json!({ "line": p.line, "column": p.column, "key": p.key, "message": p.message, "help": p.help });
    found.list.iter().map(problem).collect()
}

/// Every setting with its effective value, in the words of the file; of secrets only whether they are set.
fn settings(config: &GatewayConfig) -> Value {
    json!({
        "gateway": gateway(config),
        "admin": { "listen": config.admin.listen, "token": config.admin.token.is_some() },
        "limits": limits(config),
        "timeouts": {
            "connect": duration(config.timeouts.connect),
            "request": duration(config.timeouts.request),
            "idle": duration(config.timeouts.idle),
            "body": duration(config.timeouts.body),
            "keep_alive": duration(config.timeouts.keep_alive),
            "stream_idle": duration(config.timeouts.stream_idle),
        },
        "health": {
            "interval": duration(config.health.interval),
            "timeout": duration(config.health.timeout),
            "unhealthy_after": config.health.unhealthy_after,
            "healthy_after": config.health.healthy_after,
        },
        "worker": workers(config),
        "route": routes(config),
        "model": models(config),
    })
}

fn gateway(config: &GatewayConfig) -> Value {
    let gateway = &config.gateway;
    json!({
        "listen": gateway.listen,
        "threads": gateway.threads,
        "policy": gateway.policy.name(),
        "models": match gateway.models { ModelDoor::Any => "any", ModelDoor::Listed => "listed" },
        "access_log": gateway.access_log,
        "drain_timeout": duration(gateway.drain_timeout),
        "drain_delay": duration(gateway.drain_delay),
        "worker_token": gateway.worker_token.is_some(),
    })
}

fn limits(config: &GatewayConfig) -> Value {
    let limits = &config.limits;
    json!({
        "body_bytes": limits.body_bytes.to_string(),
        "replay_bytes": limits.replay_bytes.to_string(),
        "replay_total_bytes": limits.replay_total_bytes.to_string(),
        "scan_bytes": limits.scan_bytes.to_string(),
        "header_bytes": limits.header_bytes.to_string(),
        "header_fields": limits.header_fields,
        "in_flight": limits.in_flight,
        "watches": limits.watches,
        "attempts": limits.attempts,
    })
}

fn workers(config: &GatewayConfig) -> Vec<Value> {
    let worker = |worker: &weir_config::gateway::Worker| {
        json!({
            "name": worker.name,
            "url": format!("http://{}", worker.authority),
            "address": worker.address,
            "kind": worker.kind.name(),
            "grpc_url": worker.grpc.as_ref().map(|grpc| format!("http://{}", grpc.authority)),
            "models": worker.models,
            "weight": worker.weight,
            "labels": worker.labels,
        })
    };
    config.workers.iter().map(worker).collect()
}

fn routes(config: &GatewayConfig) -> Vec<Value> {
    let route = |route: &weir_config::gateway::Route| {
        let header = |h: &weir_config::gateway::HeaderMatch| json!({ "name": h.name, "value": h.value });
        json!({
            "name": route.name,
            "match": {
                "model": route.matches.model.as_ref().map(|glob| glob.glob().glob()),
                "host": route.matches.host,
                "header": route.matches.headers.iter().map(header).collect::<Vec<_>>(),
            },
            "to": { "model": route.to.model, "version": route.to.version, "labels": route.to.labels },
            "policy": route.policy.map(|policy| policy.name()),
        })
    };
    config.routes.iter().map(route).collect()
}

fn models(config: &GatewayConfig) -> Vec<Value> {
    let model = |(name, model): (_, &ModelSection)| {
        let policy = model.policy.map(|policy| policy.name());
        json!({ "name": name, "policy": policy, "version_labels": labels(model) })
    };
    config.models.iter().map(model).collect()
}

fn labels(model: &ModelSection) -> BTreeMap<&str, Version> {
    model.version_labels.iter().map(|(label, version)| (label.as_str(), *version)).collect()
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
