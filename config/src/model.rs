//! `model.toml`: what a model takes, gives and how it is batched. A TorchScript file says none of this itself.

mod read;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use weir_protocol::{Bytes, Datatype, Label, Version};

use crate::{
    Problems,
    outside::{Outside, System},
    reader,
};

/// A checked `model.toml`. The model's name is its folder's.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `backend = "torch"` (default) or `"synthetic"` with a `[synthetic]` table.
    pub backend: BackendConfig,
    /// Largest batch in rows. 0 = the model has no batch dimension: every request runs alone and shapes are whole;
    /// default 0.
    pub max_batch_size: u32,
    /// Executors of the model, each a thread of its own; 1 to 64, default 1.
    pub lanes: usize,
    /// `[[input]]`, at least one, names unique, in the order of the model's arguments.
    pub inputs: Vec<TensorSpec>,
    /// `[[output]]`, at least one, names unique, in the order of the model's results.
    pub outputs: Vec<TensorSpec>,
    /// `[batching]`
    pub batching: BatchingSection,
    /// Words that clients may say for a version, with the version each means; default none.
    pub version_labels: BTreeMap<Label, Version>,
}

/// What runs the model.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendConfig {
    /// `model.pt` through libtorch.
    Torch,
    /// No model at all: a parametric cost, for load tests.
    Synthetic(SyntheticSection),
}

/// `[[input]]` and `[[output]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name that clients use.
    pub name: String,
    /// Element type. With the torch backend BYTES stands for a list of texts, so its shape is `[n]` or `[n, 1]`.
    pub datatype: Datatype,
    /// Whole shape as clients see it, the batch dimension first (-1) when `max_batch_size` > 0; -1 = any size.
    pub shape: Vec<i64>,
    /// `labels = "file"`: one class name a line, beside model.toml; outputs only.
    pub labels: Option<PathBuf>,
}

/// `[batching]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchingSection {
    /// Longest wait for company while a lane is free; default 0: never wait.
    pub max_queue_delay: Duration,
    /// Most rows waiting; 503 `queue-full` above; default 1,024, at least `max_batch_size`.
    pub max_queue_size: u32,
}

/// `[synthetic]`: forward time = (base + per_item x rows) / speed, varied by `noise_ratio`.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticSection {
    /// Fixed part of a forward pass; default 10 ms.
    pub base: Duration,
    /// Part per row; default 2 ms.
    pub per_item: Duration,
    /// Divides the time; > 0, default 1.
    pub speed: f64,
    /// Standard deviation of a lognormal factor on the time, 0 to 1; default 0.
    pub noise_ratio: f64,
    /// Memory that the loaded model takes; default 0.
    pub memory: Bytes,
    /// Share of forward passes that fail, 0 to 1; default 0.
    pub failure_ratio: f64,
    /// How long loading takes; default 0.
    pub load_time: Duration,
}

impl ModelConfig {
    /// Parses and checks the text of a `model.toml`; `file` is for messages and for resolving relative paths.
    ///
    /// # Errors
    /// Every problem found, in order of position.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        Self::parse_in(text, file, &System)
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    /// As [`Self::parse`]; a file that cannot be read is one problem at 1:1.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        Self::parse(&reader::text_of(file)?, file)
    }

    pub(crate) fn parse_in(text: &str, file: &Path, outside: &dyn Outside) -> Result<Self, Problems> {
        reader::read(text, file, outside, read::model)
    }
}

#[cfg(test)]
mod tests;
