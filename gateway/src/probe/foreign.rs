//! What a foreign worker is asked, and the report that its answers amount to.
//!
//! Any server of the Open Inference Protocol says whether it is ready; most list their models in the repository
//! index. For one that does not, the operator lists them, and each is asked for. A worker's own version numbers are
//! kept; a model without one counts as version 1 and is marked as not versioned.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;
use weir_protocol::{
    Bytes, Lifecycle, LoadReport, ModelName, Version,
    load::{FORMAT, ReplicaLoad},
    rest::model_path,
};
use weir_routing::EndpointSpec;

use crate::{
    outbound::{Bounds, Call, CallError, Outbound, Reply, shortened},
    registry::ProbeFailure,
};

/// Between two looks at everything in a worker's repository. Some servers list it anew each time, and it may be a
/// bucket far away; what is ready they know by heart, so that is asked in every probe.
const WHOLE_INDEX_EVERY: Duration = Duration::from_secs(30);

/// Asks one foreign worker again and again.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// Reports made so far.
    reports: AtomicU64,
    /// The last whole index and when it was asked for.
    whole: Mutex<Option<(Instant, Models)>>,
}

/// What is known of one version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    versioned: bool,
    state: Lifecycle,
    reason: Option<String>,
}

/// Every version of every model that a worker told of. A worker holds a version once.
type Models = BTreeMap<(ModelName, Version), Known>;

/// One worker, for as long as one probe takes.
struct Asking<'a> {
    whole: &'a Mutex<Option<(Instant, Models)>>,
    outbound: &'a Outbound,
    worker: &'a EndpointSpec,
    bounds: Bounds,
}

impl Foreign {
    /// The report that a worker's answers amount to: a worker that says it is not ready accepts nothing.
    pub(super) async fn report(
        &self,
        outbound: &Outbound,
        worker: &EndpointSpec,
        bounds: Bounds,
    ) -> Result<LoadReport, ProbeFailure> {
        let asking = Asking { whole: &self.whole, outbound, worker, bounds };
        let accepting = asking.ready().await?;
        let models = asking.models().await?;
        Ok(LoadReport {
            format: FORMAT,
            worker: worker.id.clone(),
            epoch: 0,
            seq: self.reports.fetch_add(1, Relaxed) + 1,
            accepting,
            devices: Vec::new(),
            models: (1..).zip(models).map(|(id, known)| replica(id, known)).collect(),
        })
    }
}

impl Asking<'_> {
    async fn call(&self, call: Call<'_>) -> Result<Reply, CallError> {
        self.outbound.call(self.worker, call, None, self.bounds).await
    }

    /// Whether the worker takes requests. Servers say no with different statuses; one that does not know the path
    /// does not speak the protocol.
    async fn ready(&self) -> Result<bool, ProbeFailure> {
        match self.call(Call::get("/v2/health/ready")).await?.status {
            status @ (404 | 405) => Err(ProbeFailure::NotOip(status)),
            status => Ok(status == 200),
        }
    }

    async fn models(&self) -> Result<Models, ProbeFailure> {
        match self.index(r#"{"ready":true}"#).await? {
            Ok(ready) => {
                let whole = self.whole_index().await?.unwrap_or_default();
                Ok(completed(ready, whole))
            }
            Err(status) if self.worker.models.is_empty() => Err(ProbeFailure::NoIndex(status)),
            Err(_) => self.one_by_one().await,
        }
    }

    /// Everything in the repository, as of a while ago at most; `None` when the worker does not say.
    async fn whole_index(&self) -> Result<Option<Models>, ProbeFailure> {
        let last = self.whole.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, models)) = last.filter(|(asked, _)| asked.elapsed() < WHOLE_INDEX_EVERY) {
            return Ok(Some(models));
        }
        let asked = Instant::now();
        let models = self.index("{}").await?.ok();
        *self.whole.lock().unwrap_or_else(PoisonError::into_inner) =
            models.clone().map(|models| (asked, models));
        Ok(models)
    }

    /// A repository index, or the status that came instead of one.
    async fn index(&self, body: &'static str) -> Result<Result<Models, u16>, ProbeFailure> {
        let reply = self.call(Call::post("/v2/repository/index", body)).await?;
        if reply.status == 200 { listed(&reply.body).map(Ok) } else { Ok(Err(reply.status)) }
    }

    /// Asks for each model that the operator listed.
    async fn one_by_one(&self) -> Result<Models, ProbeFailure> {
        let mut models = Models::new();
        for model in &self.worker.models {
            let ready = self.call(Call::get(&model_path(model, None, "ready"))).await?.status == 200;
            let state = if ready { Lifecycle::Serving } else { Lifecycle::Absent };
            let metadata = self.call(Call::get(&model_path(model, None, ""))).await?;
            let versions = if metadata.status == 200 { numbers(&metadata.body) } else { Vec::new() };
            let versioned = !versions.is_empty();
            for version in if versioned { versions } else { vec![Version::FIRST] } {
                models.insert((model.clone(), version), Known { versioned, state, reason: None });
            }
        }
        Ok(models)
    }
}

/// What is ready now, and from the whole index the rest: what was ready then and is not any more is in the repository
/// still.
fn completed(mut ready: Models, whole: Models) -> Models {
    for (version, known) in whole {
        let gone = known.state == Lifecycle::Serving;
        let state = if gone { Lifecycle::Absent } else { known.state };
        ready.entry(version).or_insert(Known { state, ..known });
    }
    ready
}

fn replica(id: u32, ((model, version), known): ((ModelName, Version), Known)) -> ReplicaLoad {
    ReplicaLoad {
        id,
        model,
        version,
        versioned: known.versioned,
        state: known.state,
        reason: known.reason,
        device: 0,
        size: Bytes(0),
        max_batch_size: 1,
        queued: 0,
        in_flight: 0,
        arrivals: 0,
        estimate: None,
    }
}

/// One row of a repository index. Some servers leave out what they do not know.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    state: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

/// The models of a repository index; names that no client could ask for are left out.
fn listed(body: &[u8]) -> Result<Models, ProbeFailure> {
    let rows: Vec<Row<'_>> = serde_json::from_slice(body)
        .map_err(|error| ProbeFailure::NotAnIndex(shortened(&error.to_string())))?;
    let mut models = Models::new();
    for row in rows {
        let Ok(model) = row.name.parse::<ModelName>() else { continue };
        let number = row.version.as_deref().and_then(|text| text.parse().ok());
        let (state, reason) = state(row.state.as_deref().unwrap_or_default(), row.reason.as_deref());
        let known = Known { versioned: number.is_some(), state, reason };
        let place = models.entry((model, number.unwrap_or(Version::FIRST))).or_insert_with(|| known.clone());
        // Versions without a number fall together; what serves stands for them.
        if place.state != Lifecycle::Serving && known.state == Lifecycle::Serving {
            *place = known;
        }
    }
    Ok(models)
}

/// The state that a row of an index tells of, and the reason if it is a failure.
fn state(word: &str, reason: Option<&str>) -> (Lifecycle, Option<String>) {
    // What Triton says of a model that an operator unloaded.
    let reason = reason.filter(|reason| !reason.is_empty() && *reason != "unloaded");
    match word {
        "READY" => (Lifecycle::Serving, None),
        // MLServer calls a model unknown that is registered and not ready yet.
        "LOADING" | "UNKNOWN" => (Lifecycle::Loading, None),
        "UNLOADING" => (Lifecycle::Draining, None),
        _ => match reason {
            Some(reason) => (Lifecycle::Failed, Some(shortened(reason))),
            None => (Lifecycle::Absent, None),
        },
    }
}

/// The version numbers in a model's metadata.
fn numbers(body: &[u8]) -> Vec<Version> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        versions: Vec<String>,
    }
    let metadata = serde_json::from_slice::<Metadata>(body).ok();
    let versions = metadata.map(|metadata| metadata.versions).unwrap_or_default();
    versions.iter().filter_map(|version| version.parse().ok()).collect()
}
