//! What changes the store: the first load of everything, loads and unloads that somebody asks for, the end.
//!
//! One change at a time: whoever loads or unloads holds the [`Turn`]. What serves is never disturbed by a load, and a
//! version that cannot be loaded becomes Failed with a reason while the rest serve. Everything here blocks: call it on
//! a thread of its own. Called by `server` and `control`.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use weir_protocol::{ModelName, Version};

use super::{FoundModel, FoundVersion, Model, Replica, State, Store, serving};
use crate::{
    backend::Host,
    device,
    lanes::Served,
    model::{
        lifecycle::Event,
        loader::{self, Beside, Progress},
        warmup::Step,
    },
    telemetry::Telemetry,
};

/// Time between two lines in the log about a load that takes long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The right to change the store, which one at a time has. Who asked first is first.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<()>>);

/// The turn, until dropped.
#[derive(Debug)]
pub struct MyTurn(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

impl Turn {
    /// Waits for the turn.
    pub async fn take(&self) -> MyTurn {
        MyTurn(Arc::clone(&self.0).lock_owned().await)
    }

    /// Waits for the turn, on a thread that may block.
    fn take_blocking(&self) -> MyTurn {
        MyTurn(Arc::clone(&self.0).blocking_lock_owned())
    }
}

/// A version that was to be loaded and does not serve, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLoaded {
    /// The version.
    pub version: Version,
    /// The reason, for an operator.
    pub reason: String,
}

impl Store {
    /// The right to change something.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Loads everything, the highest versions of each model first.
    pub fn load_all(&self, host: &Host) {
        let models = self.models();
        for model in &models {
            let turn = self.turn.take_blocking();
            // Somebody may have asked for another state of it since.
            if let Ok(model) = self.model(model.name()) {
                self.load(&model, host, &turn, |state| matches!(state, State::Absent));
            }
        }
        if !self.stopped.load(Ordering::Relaxed) {
            tracing::info!(models = models.len(), "all models are settled");
        }
    }

    /// Takes over what was found in a model's folder now. Versions that are in memory stay as they are, also when
    /// their folder is gone; of the others there is what was found.
    pub fn refresh(&self, found: FoundModel, telemetry: &Telemetry, _turn: &MyTurn) -> Arc<Model> {
        let known = self.model(&found.name).ok();
        let model = self.join(found, known.as_deref(), telemetry);
        self.publish(|models| _ = models.insert(model.name().clone(), Arc::clone(&model)));
        model
    }

    /// Forgets a model whose folder is gone, unless some version of it is in memory.
    pub fn forget(&self, name: &ModelName, _turn: &MyTurn) {
        let in_memory = |model: &Model| model.replicas.values().any(|replica| in_memory(replica));
        if self.model(name).is_ok_and(|model| !in_memory(&model)) {
            self.publish(|models| _ = models.remove(name));
        }
    }

    /// Loads every version of a model that is not in memory, the highest first. Answers those that failed.
    pub fn load_model(&self, model: &Model, host: &Host, turn: &MyTurn) -> Vec<NotLoaded> {
        self.load(model, host, turn, |state| state.queue().is_none())
    }

    /// Takes a model out of memory: nothing new begins, what was accepted is finished within `limit`.
    pub fn unload_model(&self, model: &Model, limit: Duration, _turn: &MyTurn) {
        for replica in model.replicas.values().filter(|replica| serving(replica).is_some()) {
            replica.advance(Event::Drain);
        }
        let end = self.lanes.clock().now().saturating_add(limit);
        for (version, replica) in &model.replicas {
            if !replica.wait_idle(end.saturating_sub(self.lanes.clock().now())) {
                tracing::warn!(model = %model.name(), %version, "unloaded under requests that were still arriving");
            }
            if let Some(queue) = replica.state().queue() {
                queue.close();
            }
            if !matches!(*replica.state(), State::Unloaded) {
                replica.advance(Event::Unload);
                tracing::info!(model = %model.name(), %version, "unloaded");
            }
        }
        device::give_back_memory();
    }

    /// Takes every version out of service: what is accepted is finished, nothing new begins.
    pub fn drain(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for replica in self.replicas().filter(|replica| serving(replica).is_some()) {
            replica.advance(Event::Drain);
        }
    }

    /// Ends the lanes after what is queued.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// What was found of a model, with the replicas that there are.
    pub(super) fn join(&self, found: FoundModel, known: Option<&Model>, telemetry: &Telemetry) -> Arc<Model> {
        let rows = found.config.as_ref().map_or(1, |config| config.max_batch_size.max(1));
        let mut replicas: BTreeMap<_, _> = known.map(|model| model.replicas.clone()).unwrap_or_default();
        replicas.retain(|_, replica| in_memory(replica) || found.has(replica.version));
        for FoundVersion { version, size, .. } in &found.versions {
            let new = || {
                let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
                let name = (found.name.clone(), *version);
                Arc::new(Replica::new(id, name, (*size, rows), telemetry))
            };
            let replica = replicas.entry(*version).or_insert_with(new);
            if !in_memory(replica) {
                replica.describe(*size, rows);
            }
        }
        let labels = match (&found.config, known) {
            (Ok(config), _) => config.version_labels.clone(),
            (Err(_), Some(known)) => known.labels.clone(),
            (Err(_), None) => BTreeMap::new(),
        };
        Arc::new(Model { config: found.config.clone(), replicas, labels, found })
    }

    /// Changes the set of models. The turn is held.
    fn publish(&self, change: impl FnOnce(&mut BTreeMap<ModelName, Arc<Model>>)) {
        let mut models = BTreeMap::clone(&self.models.load());
        change(&mut models);
        self.models.store(Arc::new(models));
    }

    fn load(
        &self,
        model: &Model,
        host: &Host,
        _turn: &MyTurn,
        is_wanted: impl Fn(&State) -> bool,
    ) -> Vec<NotLoaded> {
        let mut failed = Vec::new();
        for found in model.found.versions.iter().rev() {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let replica = model.replicas.get(&found.version).filter(|replica| is_wanted(&replica.state()));
            let result = replica.map_or(Ok(()), |replica| self.load_version(model, found, replica, host));
            failed.extend(result.err().map(|reason| NotLoaded { version: found.version, reason }));
        }
        failed
    }

    fn load_version(
        &self,
        model: &Model,
        found: &FoundVersion,
        replica: &Replica,
        host: &Host,
    ) -> Result<(), String> {
        let (name, version, started) = (&replica.model, replica.version, self.lanes.clock().now());
        replica.advance(Event::Load);
        let load = || self.serve(model, found, replica, host);
        let result =
            catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("loading panicked".to_owned()));
        match &result {
            Ok(()) => {
                let took = self.lanes.clock().now().saturating_sub(started);
                tracing::info!(model = %name, %version, load_seconds = took.as_secs_f64(), "serving");
            }
            Err(reason) => {
                tracing::error!(model = %name, %version, reason, "a model version failed to load");
                replica.advance(Event::Fail(reason.clone()));
            }
        }
        result
    }

    fn serve(
        &self,
        model: &Model,
        found: &FoundVersion,
        replica: &Replica,
        host: &Host,
    ) -> Result<(), String> {
        // Until everything was loaded once the worker is not ready, and must not wait behind whoever else is busy.
        let start = Beside::Nothing { lanes: self.lanes.count() };
        let beside = if self.is_settled() { Beside::Serving } else { start };
        let loaded = loader::load(&model.found, found, host, beside, &mut self.progress(replica))?;
        if let Some(warning) = &loaded.warning {
            tracing::warn!(model = %replica.model, version = %replica.version, "{warning}");
        }
        let settings = loaded.queue_settings();
        if settings.lanes > self.lanes.count() {
            tracing::warn!(
                model = %replica.model,
                version = %replica.version,
                wanted = settings.lanes,
                lanes = self.lanes.count(),
                "model.toml allows more lanes than the device has"
            );
        }
        let (metrics, statistics) = (replica.metrics.clone(), Arc::clone(&replica.statistics));
        let served = Served::new(loaded.spec, loaded.backend, metrics, statistics);
        replica.loaded_with(loaded.config);
        replica.advance(Event::Serve(Arc::new(self.lanes.add(served, settings))));
        Ok(())
    }

    /// Notes how far a load is, in the log where it takes long.
    fn progress(&self, replica: &Replica) -> impl FnMut(Progress) + Send {
        let clock = self.lanes.clock();
        let mut told = clock.now();
        move |progress| match progress {
            Progress::WarmingUp => replica.advance(Event::WarmUp),
            Progress::Step(Step { shapes_done, shapes, bucket, rows, is_timed }) => {
                if clock.now().saturating_sub(told) >= PROGRESS_INTERVAL {
                    told = clock.now();
                    let (model, version) = (&replica.model, replica.version);
                    tracing::info!(%model, %version, shapes_done, shapes, bucket, rows, is_timed, "warming up");
                }
            }
        }
    }
}

/// Whether a version is in memory, or on its way in or out.
fn in_memory(replica: &Replica) -> bool {
    !matches!(*replica.state(), State::Absent | State::Unloaded | State::Failed(_))
}
