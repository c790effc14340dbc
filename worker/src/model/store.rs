//! Every model of this worker by name, and the thread that loads them.
//!
//! The set is fixed at start; states change. A request resolves a name to a serving version here. A version that
//! cannot be loaded becomes Failed with a reason and the rest serve.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use weir_config::ModelConfig;
use weir_protocol::{ModelName, Version};

use super::{
    lanes::{LaneSettings, Lanes},
    lifecycle::{Event, State},
    loader,
    replica::Replica,
    repository::{FoundModel, FoundVersion},
};
use crate::{backend::Host, clock::Clock, telemetry::Telemetry};

/// All models of the worker.
pub struct Store {
    models: BTreeMap<ModelName, Model>,
    clock: Clock,
    /// Set at shutdown: loads nothing more.
    stopped: AtomicBool,
}

/// One model with its versions.
pub struct Model {
    /// model.toml, or what is wrong with it.
    pub config: Result<Arc<ModelConfig>, String>,
    /// Its versions, ascending.
    pub replicas: BTreeMap<Version, Arc<Replica>>,
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
        /// The version asked for.
        version: Version,
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
    /// A store of what was found in the repository, nothing loaded.
    #[must_use]
    pub fn new(found: Vec<FoundModel>, clock: Clock, telemetry: &Telemetry) -> Self {
        let mut id = 0;
        let mut replica = |model: &FoundModel, version: &FoundVersion| {
            id += 1;
            let rows = model.config.as_ref().map_or(1, |config| config.max_batch_size.max(1));
            let name = (model.name.clone(), version.version);
            (version.version, Arc::new(Replica::new(id, name, (version.size, rows), telemetry)))
        };
        let mut model = |found: FoundModel| {
            let replicas = found.versions.iter().map(|version| replica(&found, version)).collect();
            (found.name.clone(), Model { config: found.config.clone(), replicas, found })
        };
        let models = found.into_iter().map(&mut model).collect();
        Self { models, clock, stopped: AtomicBool::new(false) }
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Unresolved::Model`].
    pub fn model(&self, name: &ModelName) -> Result<&Model, Unresolved> {
        self.models.get(name).ok_or_else(|| Unresolved::Model(name.clone()))
    }

    /// Every version of every model.
    pub fn replicas(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.models.values().flat_map(|model| model.replicas.values())
    }

    /// A serving version: the one asked for, or the highest that serves.
    ///
    /// # Errors
    /// Why there is none.
    pub fn resolve(
        &self,
        name: &ModelName,
        version: Option<Version>,
    ) -> Result<(Arc<Replica>, Arc<Lanes>), Unresolved> {
        let model = self.model(name)?;
        let Some(version) = version else {
            let serving = model.replicas.values().rev().find_map(serving);
            return serving.ok_or_else(|| model.not_ready(None));
        };
        let replica = model.replica(version)?;
        serving(replica).ok_or_else(|| model.not_ready(Some(version)))
    }

    /// Whether every version is loaded or known not to load.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.replicas().all(|replica| replica.state().is_settled())
    }

    /// Loads everything, the highest versions of each model first. Blocks: call on a thread of its own.
    pub fn load_all(&self, host: &Host) {
        for model in self.models.values() {
            for version in model.found.versions.iter().rev() {
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(replica) = model.replicas.get(&version.version) {
                    self.load(model, version, replica, host);
                }
            }
        }
        tracing::info!(models = self.models.len(), "all models are settled");
    }

    /// Takes every version out of service: what is accepted is finished, nothing new begins.
    pub fn drain(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for replica in self.replicas().filter(|replica| serving(replica).is_some()) {
            replica.advance(Event::Drain);
        }
    }

    /// Ends all lanes after what is queued. Blocks.
    pub fn close(&self) {
        for replica in self.replicas() {
            if let Some(lanes) = replica.state().lanes() {
                lanes.close();
            }
        }
    }

    fn load(&self, model: &Model, version: &FoundVersion, replica: &Arc<Replica>, host: &Host) {
        let (name, number, started) = (&replica.model, replica.version, self.clock.now());
        replica.advance(Event::Load);
        let load = || self.serve(model, version, replica, host);
        let result =
            catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("loading panicked".to_owned()));
        match result {
            Ok(()) => {
                let took = self.clock.now().saturating_sub(started);
                tracing::info!(model = %name, version = %number, load_seconds = took.as_secs_f64(), "serving");
            }
            Err(reason) => {
                tracing::error!(model = %name, version = %number, reason, "a model version failed to load");
                replica.advance(Event::Fail(reason));
            }
        }
    }

    fn serve(
        &self,
        model: &Model,
        version: &FoundVersion,
        replica: &Replica,
        host: &Host,
    ) -> Result<(), String> {
        let loaded = loader::load(&model.found, version, host, || replica.advance(Event::WarmUp))?;
        if let Some(warning) = &loaded.warning {
            tracing::warn!(model = %replica.model, version = %replica.version, "{warning}");
        }
        let settings = LaneSettings {
            limits: loaded.limits(),
            spec: loaded.spec,
            lanes: loaded.config.lanes,
            clock: self.clock,
            metrics: replica.metrics.clone(),
        };
        let lanes =
            Lanes::start(settings, loaded.backend).map_err(|e| format!("cannot start a lane: {e}"))?;
        replica.advance(Event::Serve(Arc::new(lanes)));
        Ok(())
    }
}

impl Model {
    /// The version's replica.
    ///
    /// # Errors
    /// [`Unresolved::Version`].
    pub fn replica(&self, version: Version) -> Result<&Arc<Replica>, Unresolved> {
        self.replicas.get(&version).ok_or_else(|| {
            let known: Vec<_> = self.replicas.keys().map(ToString::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Unresolved::Version { model: self.found.name.clone(), version, known }
        })
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
        let state = if is(|s| !s.is_settled()) {
            "it is being loaded"
        } else if is(|s| matches!(s, State::Draining(_))) {
            "it is going away"
        } else {
            "it failed to load; the worker's log says why"
        };
        Unresolved::NotReady { model: self.found.name.clone(), version, state }
    }
}

fn serving(replica: &Arc<Replica>) -> Option<(Arc<Replica>, Arc<Lanes>)> {
    match &*replica.state() {
        State::Serving(lanes) => Some((Arc::clone(replica), Arc::clone(lanes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
