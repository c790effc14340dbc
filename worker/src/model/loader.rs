//! From a version's folder to a model that can serve: load, warm up.
//!
//! Blocks for as long as loading takes, so it runs on the loader thread (`store`) or in `weir-worker check`. Every
//! way to fail is a sentence for the operator.

use std::sync::Arc;

use weir_batching::QueueSettings;
use weir_config::{ModelConfig, model::BackendConfig};

use super::{
    ModelSpec,
    repository::{FoundModel, FoundVersion},
    warmup::{self, WarmUp},
};
use crate::backend::{self, Backend, Host};

/// A model version in memory that has run its first forward passes.
pub struct Loaded {
    /// What runs it.
    pub backend: Arc<dyn Backend>,
    /// What it takes and gives; `max_rows` is what warm-up found to work.
    pub spec: Arc<ModelSpec>,
    /// model.toml.
    pub config: Arc<ModelConfig>,
    /// Something that the operator should know, though the version serves.
    pub warning: Option<String>,
}

impl Loaded {
    /// What its queue is opened with.
    #[must_use]
    pub fn queue_settings(&self) -> QueueSettings {
        let batching = &self.config.batching;
        QueueSettings {
            max_batch_rows: self.spec.max_rows,
            max_queue_delay: batching.max_queue_delay,
            preferred_batch_rows: batching.preferred_batch_size.clone(),
            max_queued_rows: batching.max_queue_size,
            default_timeout: batching.default_timeout,
            ageing: batching.ageing,
            lanes: u32::try_from(self.config.lanes).unwrap_or(u32::MAX),
            costs: Vec::new(),
            useful_rows: Vec::new(),
        }
    }
}

/// Loads one version and runs its first forward passes; `warming` is called between the two.
///
/// # Errors
/// Why this version cannot serve, in words.
pub fn load(
    model: &FoundModel,
    version: &FoundVersion,
    host: &Host,
    warming: impl FnOnce(),
) -> Result<Loaded, String> {
    if let Some(problem) = model.problem(version) {
        return Err(problem);
    }
    let config = model.config.clone()?;
    let backend = backend::load(&config, &version.file, host).map_err(|error| {
        tracing::warn!(model = %model.name, version = %version.version, error = error.detail, "loading failed");
        format!("cannot be loaded: {}", error.summary)
    })?;
    warming();
    let mut spec = ModelSpec::new(model.name.clone(), version.version, &config);
    let found = match config.backend {
        BackendConfig::Torch => {
            let _scope = backend::enter_lane(host.intra_op_threads);
            warmup::run(&spec, backend.as_ref())
        }
        // There is nothing to find out, and its failures are made on purpose.
        BackendConfig::Synthetic(_) => WarmUp::Good,
    };
    let warning = match found {
        WarmUp::Good => None,
        WarmUp::OneRowOnly(why) => {
            spec.max_rows = 1;
            Some(format!("runs one row at a time, although model.toml allows more: {why}"))
        }
        WarmUp::Unknown(why) => Some(format!("not tried before its first request: {why}")),
        WarmUp::Bad(why) => return Err(why),
    };
    Ok(Loaded { backend, spec: Arc::new(spec), config, warning })
}
