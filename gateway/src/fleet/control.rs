//! Loading and unloading a model on every Weir worker that has it.
//!
//! Foreign workers are left alone: their operators have their own ways. Every worker is asked whatever the others
//! say, and the caller learns what each of them said. Called by the admin listener only; clients may not.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use weir_protocol::{LoadReport, ModelName, OipError, Reason, WorkerId};
use weir_routing::{Endpoint, EndpointKind};

use super::{AT_ONCE, Fleet, FleetCall, FleetOutcome, WorkerCalls, stopping};
use crate::{
    outbound::{Call, shortened},
    registry::{Registry, Snapshot},
};

/// For one worker: a large model is read, checked and warmed up in this time, or its disk is broken.
const CONTROL_TIME: Duration = Duration::from_secs(600);
/// How long a call waits, once it is done, until the gateway routes by it.
const SETTLING_TIME: Duration = Duration::from_secs(2);
/// Between two looks at whether it does.
const SETTLING_STEP: Duration = Duration::from_millis(5);
/// Status of a worker that gave no answer.
const NO_ANSWER: u16 = 502;

/// What is done to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Every version in the repository is brought to serving.
    Load,
    /// Every version finishes what it accepted and is taken out of memory.
    Unload,
}

impl Action {
    /// Last part of the path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Unload => "unload",
        }
    }

    fn call(self) -> FleetCall {
        match self {
            Self::Load => FleetCall::Load,
            Self::Unload => FleetCall::Unload,
        }
    }
}

/// What one worker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The worker.
    pub worker: WorkerId,
    /// HTTP status of its answer; 502 when there was none.
    pub status: u16,
    /// Why it did not do it.
    pub error: Option<String>,
}

/// What all of them said, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controlled {
    /// At least one.
    pub said: Vec<Said>,
}

impl Controlled {
    /// 200 when every worker did it, else the highest status that any of them answered.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.said.iter().map(|said| said.status).max().unwrap_or(NO_ANSWER)
    }

    /// What went wrong, worker by worker; nothing when every one of them did it.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let wrong =
            self.said.iter().filter_map(|said| Some(format!("{}: {}", said.worker, said.error.as_ref()?)));
        let wrong: Vec<_> = wrong.collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

impl Fleet {
    /// Has every Weir worker that has the model load or unload it; a model that none has is loaded by all of them.
    /// `body` is passed on as it is. Goes on to the end when the caller leaves. The answer comes when requests are
    /// routed by what was done.
    ///
    /// # Errors
    /// `model-not-found` when there is no worker to ask, `draining` when the gateway is stopping.
    pub async fn control(
        &self,
        model: ModelName,
        action: Action,
        body: Bytes,
    ) -> Result<Controlled, OipError> {
        let snapshot = self.registry.snapshot_full();
        let workers = asked(&snapshot, &model, action)?;
        let (calls, registry) = (self.worker_calls(), Arc::clone(&self.registry));
        let work = async move {
            let path = format!("/v2/repository/models/{model}/{}", action.name());
            let tell = |worker| tell(&calls, &snapshot, worker, Call::post(&path, body.clone()), action);
            let said: Vec<Said> =
                futures_util::stream::iter(workers).map(tell).buffered(AT_ONCE).collect().await;
            settle(&registry, &said).await;
            tracing::info!(%model, action = action.name(), workers = said.len(), "model control was passed on");
            Controlled { said }
        };
        self.carry_out("fleet control", work).await.ok_or_else(stopping)
    }
}

/// The Weir workers that have the model, or all of them when it is to be loaded and none has it.
fn asked(snapshot: &Snapshot, model: &ModelName, action: Action) -> Result<Vec<Arc<Endpoint>>, OipError> {
    let weir = || snapshot.endpoints.iter().filter(|worker| worker.spec.kind == EndpointKind::Weir);
    let has = |worker: &&Arc<Endpoint>| {
        let report = snapshot.worker(&worker.spec.id).and_then(|(_, sighting)| sighting.report());
        report.is_some_and(|report| report.models.iter().any(|held| held.model == *model))
    };
    let mut workers: Vec<_> = weir().filter(has).cloned().collect();
    if workers.is_empty() && action == Action::Load {
        workers = weir().cloned().collect();
    }
    if workers.is_empty() {
        let message =
            format!("no Weir worker has a model '{model}'; other workers are controlled by themselves");
        return Err(OipError::new(Reason::ModelNotFound, message));
    }
    Ok(workers)
}

async fn tell(
    calls: &WorkerCalls,
    snapshot: &Snapshot,
    worker: Arc<Endpoint>,
    call: Call<'_>,
    action: Action,
) -> Said {
    let answer = calls.call(snapshot, &worker.spec, call, CONTROL_TIME).await;
    let (outcome, status, error) = match answer {
        Ok(reply) if reply.status == 200 => (FleetOutcome::Answered, 200, None),
        Ok(reply) => (FleetOutcome::Refused, reply.status, Some(message(&reply.body))),
        Err(error) => (FleetOutcome::Failed, NO_ANSWER, Some(error.to_string())),
    };
    calls.count(action.call(), outcome);
    Said { worker: worker.spec.id.clone(), status, error }
}

/// The text of an error answer.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        error: String,
    }
    match serde_json::from_slice::<Error>(body) {
        Ok(Error { error }) => error,
        Err(_) => shortened(&String::from_utf8_lossy(body)),
    }
}

/// Waits until each worker that answered has reported twice since: the first report may have been on its way already.
async fn settle(registry: &Registry, said: &[Said]) {
    let until = Instant::now() + SETTLING_TIME;
    let answered = said.iter().filter(|said| said.status != NO_ANSWER);
    let mut waiting: Vec<_> = answered.map(|said| News::of(registry, &said.worker)).collect();
    while !waiting.is_empty() && Instant::now() < until {
        sleep(SETTLING_STEP).await;
        waiting.retain_mut(|news| !news.heard_twice(registry));
    }
}

/// Reports of a worker since a moment.
struct News {
    worker: WorkerId,
    last: Option<Arc<LoadReport>>,
    heard: u8,
}

impl News {
    fn of(registry: &Registry, worker: &WorkerId) -> Self {
        registry.probe_now(worker);
        Self { last: report(registry, worker), worker: worker.clone(), heard: 0 }
    }

    /// A worker that cannot be heard of is not waited for.
    fn heard_twice(&mut self, registry: &Registry) -> bool {
        let now = report(registry, &self.worker);
        let news = match (&self.last, &now) {
            (Some(last), Some(now)) => !Arc::ptr_eq(last, now),
            (None, Some(_)) => true,
            (_, None) => return true,
        };
        if news {
            self.heard += 1;
            self.last = now;
            registry.probe_now(&self.worker);
        }
        self.heard >= 2
    }
}

/// The last report of a worker whose latest probe was good.
fn report(registry: &Registry, worker: &WorkerId) -> Option<Arc<LoadReport>> {
    let snapshot = registry.snapshot();
    let (_, sighting) = snapshot.worker(worker)?;
    sighting.report().filter(|_| sighting.failure().is_none())
}
