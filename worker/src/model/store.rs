//! Every model of this worker by name.
//!
//! A request resolves a name to a serving version here, with one atomic load. What changes the set, or the state of
//! its versions, is in `changes`.

mod changes;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use weir_config::ModelConfig;
use weir_protocol::{Label, ModelName, Version, VersionRef};

pub use self::changes::{MyTurn, NotLoaded, Turn};
use super::{
    lifecycle::State,
    replica::Replica,
    repository::{FoundModel, FoundVersion},
};
use crate::{
    lanes::{Lanes, Queue},
    telemetry::Telemetry,
};

/// All models of the worker.
pub struct Store {
    models: ArcSwap<BTreeMap<ModelName, Arc<Model>>>,
    lanes: Lanes,
    last_id: AtomicU32,
    /// Who holds it may change something.
    turn: Turn,
    /// Set once the first load of everything has ended; loads that follow make no worker unready.
    settled: AtomicBool,
    /// Set at shutdown: loads nothing more.
    stopped: AtomicBool,
}

/// One model with its versions, as of the last look at its folder.
pub struct Model {
    /// model.toml, or what is wrong with it.
    pub config: Result<Arc<ModelConfig>, String>,
    /// Its versions, ascending.
    pub replicas: BTreeMap<Version, Arc<Replica>>,
    /// What its labels mean. Of the last model.toml that was good.
    pub labels: BTreeMap<Label, Version>,
    found: FoundModel,
}

/// A name that leads to no serving version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No such model.
    #[error("unknown model '{0}'")]
    Model(ModelName),
    /// The model has no such version.
    #[error("model '{model}' has no version {version}: its versions are {known}")]
    Version {
        /// The model.
        model: ModelName,
        /// The version or label asked for.
        version: VersionRef,
        /// Those that there are, as text.
        known: String,
    },
    /// It is known and does not serve now.
    #[error("model '{model}'{} is not ready: {state}", .version.map(|v| format!(" version {v}")).unwrap_or_default())]
    NotReady {
        /// The model.
        model: ModelName,
        /// The version asked for, if one was.
        version: Option<Version>,
        /// What it is instead, for a client.
        state: &'static str,
    },
}

impl Store {
    /// A store of what was found in the repository, nothing loaded. What serves will run on `lanes`.
    #[must_use]
    pub fn new(found: Vec<FoundModel>, lanes: Lanes, telemetry: &Telemetry) -> Self {
        let store = Self {
            models: ArcSwap::default(),
            lanes,
            last_id: AtomicU32::new(0),
            turn: Turn::default(),
            settled: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        };
        let models = found.into_iter().map(|found| (found.name.clone(), store.join(found, None, telemetry)));
        store.models.store(Arc::new(models.collect()));
        store
    }

    /// What its models run on.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Unresolved::Model`].
    pub fn model(&self, name: &ModelName) -> Result<Arc<Model>, Unresolved> {
        self.models.load().get(name).cloned().ok_or_else(|| Unresolved::Model(name.clone()))
    }

    /// Every model, ascending by name.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.load().values().cloned().collect()
    }

    /// Every version of every model.
    pub fn replicas(&self) -> impl Iterator<Item = Arc<Replica>> {
        self.models().into_iter().flat_map(|model| model.replicas.values().cloned().collect::<Vec<_>>())
    }

    /// A serving version: the one asked for, or the highest that serves.
    ///
    /// # Errors
    /// Why there is none.
    pub fn resolve(
        &self,
        name: &ModelName,
        version: Option<&VersionRef>,
    ) -> Result<(Arc<Replica>, Arc<Queue>), Unresolved> {
        let models = self.models.load();
        let model = models.get(name).ok_or_else(|| Unresolved::Model(name.clone()))?;
        let Some(version) = version else {
            let serving = model.replicas.values().rev().find_map(serving);
            return serving.ok_or_else(|| model.not_ready(None));
        };
        let replica = model.replica(version)?;
        serving(replica).ok_or_else(|| model.not_ready(Some(replica.version)))
    }

    /// Whether every version was loaded, or found not to load, once since the start.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        if self.settled.load(Ordering::Relaxed) {
            return true;
        }
        let is_settled = self.replicas().all(|replica| replica.state().is_settled());
        if is_settled {
            self.settled.store(true, Ordering::Relaxed);
        }
        is_settled
    }
}

impl Model {
    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.found.name
    }

    /// The replica of a version or of what a label means.
    ///
    /// # Errors
    /// [`Unresolved::Version`].
    pub fn replica(&self, version: &VersionRef) -> Result<&Arc<Replica>, Unresolved> {
        let number = match version {
            VersionRef::Number(number) => Some(number),
            VersionRef::Label(label) => self.labels.get(label),
        };
        number.and_then(|number| self.replicas.get(number)).ok_or_else(|| Unresolved::Version {
            model: self.found.name.clone(),
            version: version.clone(),
            known: self.known(),
        })
    }

    /// The highest version that serves now.
    #[must_use]
    pub fn default_replica(&self) -> Option<&Arc<Replica>> {
        self.replicas.values().rev().find(|replica| serving(replica).is_some())
    }

    /// Versions that serve now, ascending.
    pub fn serving(&self) -> impl Iterator<Item = Version> {
        self.replicas.values().filter_map(serving).map(|(replica, _)| replica.version)
    }

    /// The error for a version that does not serve now (`None` = none does).
    #[must_use]
    pub fn not_ready(&self, version: Option<Version>) -> Unresolved {
        let asked = |replica: &&Arc<Replica>| version.is_none_or(|version| replica.version == version);
        let states: Vec<_> = self.replicas.values().filter(asked).map(|replica| replica.state()).collect();
        let is = |wanted: fn(&State) -> bool| states.iter().any(|state| wanted(state));
        // Serving: it began to, between the look that found nothing and this one.
        let state = if is(|s| !s.is_settled() || matches!(s, State::Serving(_))) {
            "it is being loaded"
        } else if is(|s| matches!(s, State::Draining(_))) {
            "it is going away"
        } else if !is(|s| matches!(s, State::Failed(_))) && is(|s| matches!(s, State::Unloaded)) {
            "it is not loaded"
        } else {
            "it failed to load; the worker's log says why"
        };
        Unresolved::NotReady { model: self.found.name.clone(), version, state }
    }

    /// Versions and labels, for a message.
    fn known(&self) -> String {
        let list = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        let mut known = list(self.replicas.keys().map(ToString::to_string).collect());
        if !self.labels.is_empty() {
            known.push_str("; its labels are ");
            known.push_str(&list(self.labels.iter().map(|(l, v)| format!("{l} = {v}")).collect()));
        }
        known
    }
}

fn serving(replica: &Arc<Replica>) -> Option<(Arc<Replica>, Arc<Queue>)> {
    match &*replica.state() {
        State::Serving(queue) => Some((Arc::clone(replica), Arc::clone(queue))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
