//! From a version's folder to a model that can serve: load, warm up.
//!
//! Blocks for as long as loading takes (called by `store` and by `weir-worker check`). Works on a thread of its own,
//! of low priority where others serve, so that they keep the processor. Every way to fail is a sentence for the operator.

use std::{panic::resume_unwind, sync::Arc, thread};

use weir_batching::QueueSettings;
use weir_config::{ModelConfig, model::BackendConfig};

use super::{
    ModelSpec,
    repository::{FoundModel, FoundVersion},
    warmup::{self, Crew, Findings, Plan, ShapeCost, Step, WarmUp},
};
use crate::{
    backend::{self, Backend, Host, synthetic},
    clock::{self, Clock},
    device,
};

/// A model version in memory that has run its first forward passes.
pub struct Loaded {
    /// What runs it.
    pub backend: Arc<dyn Backend>,
    /// What it takes and gives; `max_rows` is what warm-up found to work.
    pub spec: Arc<ModelSpec>,
    /// model.toml.
    pub config: Arc<ModelConfig>,
    /// What its batches cost, by shape; empty when nothing could be tried.
    pub shapes: Vec<ShapeCost>,
    /// Something that the operator should know, though the version serves.
    pub warning: Option<String>,
}

impl Loaded {
    /// What its queue is opened with.
    #[must_use]
    pub fn queue_settings(&self) -> QueueSettings {
        let batching = &self.config.batching;
        let max_batch_rows = self.spec.max_rows;
        let by_shape = |shape: &ShapeCost| (shape.key.clone(), shape.cost);
        let useful = |shape: &ShapeCost| (shape.key.clone(), shape.useful_rows);
        let mut preferred_batch_rows = batching.preferred_batch_size.clone();
        preferred_batch_rows.retain(|rows| *rows <= max_batch_rows);
        QueueSettings {
            max_batch_rows,
            max_queue_delay: batching.max_queue_delay,
            preferred_batch_rows,
            max_queued_rows: batching.max_queue_size,
            default_timeout: batching.default_timeout,
            ageing: batching.ageing,
            lanes: u32::try_from(self.config.lanes).unwrap_or(u32::MAX),
            costs: self.shapes.iter().map(by_shape).collect(),
            useful_rows: self.shapes.iter().map(useful).collect(),
        }
    }
}

/// What else the device does while a version is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing that matters: passes are timed with so many lanes at work, all that the device has.
    Nothing {
        /// Lanes of the device.
        lanes: u32,
    },
    /// It serves: the load gets what that leaves over of the processor. Those who serve are company enough for passes
    /// that are timed.
    Serving,
}

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is in memory; the first forward passes begin.
    WarmingUp,
    /// What runs next.
    Step(Step),
}

/// Loads one version and runs its first forward passes. `told` hears how far it is.
///
/// # Errors
/// Why this version cannot serve, in words.
pub fn load(
    model: &FoundModel,
    version: &FoundVersion,
    host: &Host,
    beside: Beside,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Loaded, String> {
    thread::scope(|scope| {
        let work = || {
            let lanes = match beside {
                Beside::Nothing { lanes } => lanes,
                Beside::Serving => {
                    // For good, which is why the thread is not the caller's.
                    device::lower_priority();
                    1
                }
            };
            load_here(model, version, host, lanes, told)
        };
        let thread = thread::Builder::new().name("loader".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("a thread cannot be started: {error}"))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn load_here(
    model: &FoundModel,
    version: &FoundVersion,
    host: &Host,
    lanes: u32,
    told: &mut dyn FnMut(Progress),
) -> Result<Loaded, String> {
    if let Some(problem) = model.problem(version) {
        return Err(problem);
    }
    let config = model.config.clone()?;
    let backend = backend::load(&config, &version.file, host).map_err(|error| {
        tracing::warn!(model = %model.name, version = %version.version, error = error.detail, "loading failed");
        format!("cannot be loaded: {}", error.summary)
    })?;
    told(Progress::WarmingUp);
    let mut spec = ModelSpec::new(model.name.clone(), version.version, &config);
    let found = match &config.backend {
        BackendConfig::Torch => {
            let _scope = backend::enter_lane(host.intra_op_threads);
            let (clock, one_thread) = (Clock::start(), host.intra_op_threads == 1);
            // A pass on one thread takes the time that the thread does: waiting for a core, which may be long at low
            // priority, is no part of it.
            let time = move || if one_thread { clock::thread_time() } else { clock.now() };
            let plan = Plan { section: &config.warmup, crew: crew(&config, host, lanes), time: &time };
            warmup::run(&spec, backend.as_ref(), &plan, &mut |step| told(Progress::Step(step)))
        }
        // There is nothing to find out, and its failures are made on purpose.
        BackendConfig::Synthetic(section) => {
            WarmUp::Good(warmup::declared(&spec, |rows| synthetic::cost(section, rows.into())))
        }
    };
    let Findings { max_rows, warning, shapes } = match found {
        WarmUp::Good(findings) => findings,
        WarmUp::Unknown(why) => Findings {
            max_rows: spec.max_rows,
            warning: Some(format!("not tried before its first request: {why}")),
            shapes: Vec::new(),
        },
        WarmUp::Bad(why) => return Err(why),
    };
    spec.max_rows = max_rows;
    Ok(Loaded { backend, spec: Arc::new(spec), config, shapes, warning })
}

/// Who runs while passes are timed: as many passes at once as this model may run, and stand-ins for other models on the
/// other lanes.
fn crew(config: &ModelConfig, host: &Host, lanes: u32) -> Crew {
    let own = u32::try_from(config.lanes).unwrap_or(u32::MAX).min(lanes).max(1);
    let threads = u32::try_from(host.intra_op_threads).unwrap_or(u32::MAX);
    let stand_ins = lanes.saturating_sub(own).saturating_mul(threads);
    Crew { lanes: own, stand_ins, intra_op_threads: host.intra_op_threads }
}
