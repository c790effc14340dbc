//! Models of this worker: what is in the repository and how a version comes to serve.
//!
//! `repository` reads the disk, `loader` and `warmup` turn a folder into a backend, `lifecycle` is the state machine of
//! one version, `store` holds them all and gives each that serves a queue on the device's lanes. HTTP is not known here.

pub mod contract;
pub mod length;
pub mod lifecycle;
pub mod loader;
pub mod replica;
pub mod repository;
pub mod store;
pub mod terms;
pub mod warmup;

use weir_config::{ModelConfig, model::TensorSpec};
use weir_protocol::{ModelName, Version};

pub use self::terms::Terms;

use crate::backend;

/// What a model version takes and gives, as requests are checked against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The model.
    pub name: ModelName,
    /// Its version.
    pub version: Version,
    /// Whether the first dimension of every input and output is the batch.
    pub batched: bool,
    /// Most rows of a batch; at least 1. Lower than in model.toml when warm-up found that the model does not batch.
    pub max_rows: u32,
    /// Most rows of a request, which is run in several batches when it has more than one may; at least 1.
    pub max_request_rows: u32,
    /// Lengths, ascending, that padded dimensions are padded up to; empty when none is padded.
    pub buckets: Vec<u64>,
    /// Until when answers are useful and how urgent requests are, where they do not say it.
    pub terms: Terms,
    /// Whether elements of BYTES inputs must be texts: UTF-8 without NUL.
    pub takes_texts: bool,
    /// Inputs in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorSpec>,
}

impl ModelSpec {
    /// The spec of a version as model.toml describes it.
    #[must_use]
    pub fn new(name: ModelName, version: Version, config: &ModelConfig) -> Self {
        Self {
            name,
            version,
            batched: config.max_batch_size > 0,
            max_rows: config.max_batch_size.max(1),
            max_request_rows: if config.max_batch_size > 0 { config.batching.max_queue_size } else { 1 },
            buckets: config.batching.buckets.clone(),
            terms: Terms::from(&config.batching),
            takes_texts: backend::takes_texts(&config.backend),
            inputs: config.inputs.clone(),
            outputs: config.outputs.clone(),
        }
    }

    /// Whether dimension `at` of a tensor is the batch.
    #[must_use]
    pub fn is_batch_dim(&self, at: usize) -> bool {
        self.batched && at == 0
    }
}
