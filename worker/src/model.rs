//! Models of this worker: what is in the repository, how a version comes to serve, and the threads that run it.
//!
//! `repository` reads the disk, `loader` and `warmup` turn a folder into a backend, `lanes` queues and runs
//! requests, `lifecycle` is the state machine of one version, `store` holds them all. HTTP is not known here.

pub mod contract;
pub mod lanes;
pub mod lifecycle;
pub mod loader;
pub mod replica;
pub mod repository;
pub mod store;
pub mod warmup;

use weir_config::{ModelConfig, model::TensorSpec};
use weir_protocol::{ModelName, Version};

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
    /// Most rows of a batch, and so of a request; at least 1. Lower than in model.toml when warm-up found that the
    /// model does not batch.
    pub max_rows: u32,
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
