//! `grpc.health.v1`: whether the worker, or one of its models, takes inferences.
//!
//! A service's name is empty for the worker as a whole, else a model's. Every answer looks at the store as it is then.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tonic_health::pb::{HealthCheckResponse, health_check_response::ServingStatus};
use weir_protocol::{OipError, Reason, Refusal};

use super::answer::{self, Part};
use crate::{infer::Rejection, model::store::Unresolved, server::Worker, shutdown::Phase};

/// Time between two looks at the state that a client watches: states change by themselves, nobody tells.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// The status of a service; `None` when there is none of that name.
pub(super) fn status(worker: &Worker, service: &str) -> Option<ServingStatus> {
    let serves = if service.is_empty() {
        worker.ready().is_ok()
    } else {
        match worker.store.resolve(&service.parse().ok()?, None) {
            Ok(_) => worker.shutdown.phase() == Phase::Running,
            Err(Unresolved::NotReady { .. }) => false,
            Err(_) => return None,
        }
    };
    Some(if serves { ServingStatus::Serving } else { ServingStatus::NotServing })
}

/// Answers Check.
///
/// # Errors
/// `model-not-found`.
pub(super) fn check(worker: &Worker, service: &str) -> Result<HealthCheckResponse, OipError> {
    let unknown = || {
        let name = weir_protocol::error::shown(service);
        OipError::new(Reason::ModelNotFound, format!("unknown service '{name}': use a model's name, or none"))
    };
    status(worker, service).map(message).ok_or_else(unknown)
}

/// Answers Watch: the status now, and again whenever it changed, until the worker closes.
pub(super) fn watch(worker: Arc<Worker>, service: String) -> impl Stream<Item = Part> + Send + 'static {
    let next = move |told: Option<Option<ServingStatus>>| {
        let (worker, service) = (Arc::clone(&worker), service.clone());
        async move {
            let told = told?;
            loop {
                let now = status(&worker, &service).unwrap_or(ServingStatus::ServiceUnknown);
                if told != Some(now) {
                    let part = answer::framed(&message(now), None).map(Part::Messages).ok()?;
                    return Some((part, Some(Some(now))));
                }
                tokio::select! {
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                    () = worker.shutdown.reached(Phase::Draining), if worker.shutdown.phase() == Phase::Running => {}
                    () = worker.shutdown.reached(Phase::Closing) => {
                        let closing = Rejection::refused(Refusal::Draining);
                        return Some((Part::End(answer::status(&closing, false)), None));
                    }
                }
            }
        }
    };
    stream::unfold(Some(None), next)
}

fn message(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
