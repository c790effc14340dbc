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
    /// Most batches of the model that run at the same time, on the lanes of the device; 1 to 64, default 1.
    pub lanes: usize,
    /// `[[input]]`, at least one, names unique, in the order of the model's arguments.
    pub inputs: Vec<TensorSpec>,
    /// `[[output]]`, at least one, names unique, in the order of the model's results.
    pub outputs: Vec<TensorSpec>,
    /// `[batching]`
    pub batching: BatchingSection,
    /// `[warmup]`
    pub warmup: WarmupSection,
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
    /// How the tensor takes part in padding to [`BatchingSection::buckets`]; default not at all.
    pub padding: Padding,
}

impl TensorSpec {
    /// The one dimension after the first that may have any size; `None` when there is none or more than one. In a
    /// model with batches this is the dimension that padding is about.
    #[must_use]
    pub fn free_dim(&self) -> Option<usize> {
        let mut free = self.shape.iter().enumerate().skip(1).filter(|(_, dim)| **dim < 0);
        free.next().filter(|_| free.next().is_none()).map(|(at, _)| at)
    }
}

/// What becomes of a tensor's free dimension ([`TensorSpec::free_dim`]) when requests of different lengths share a
/// batch. Only in models with batches and buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: only requests of equal sizes share a batch.
    #[default]
    None,
    /// `pad_value` of an input: it is filled up to the bucket with this element, raw and little-endian, of the size of
    /// the datatype.
    Fill(Box<[u8]>),
    /// `mask = true` of an input, of shape [-1, -1]: 1 where the request has an element, 0 where there is padding. Made
    /// when the request does not bring it, else filled up with 0.
    Mask,
    /// `unpad = true` of an output: it is cut back to the length of the request.
    Cut,
}

/// `[batching]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchingSection {
    /// Longest wait for company while a lane is free; default 0: never wait.
    pub max_queue_delay: Duration,
    /// Most rows waiting; 503 `queue-full` above; default 1,024, at least `max_batch_size`.
    pub max_queue_size: u32,
    /// Batch sizes in rows, ascending, each 1 to `max_batch_size`: a batch that has one of them waits no longer for
    /// company; default none.
    pub preferred_batch_size: Vec<u32>,
    /// How long an answer is useful when the request names no shorter time; 1 ms to 1 day, default for ever.
    pub default_timeout: Option<Duration>,
    /// Priorities of requests: 1, which goes first, to this; 1 to 16, default 1.
    pub priority_levels: u8,
    /// Priority of requests that name none; 1 to `priority_levels`, default the middle, rounded down.
    pub default_priority: u8,
    /// Waiting this long raises a request by one priority; 1 ms to 1 h, default 1 s.
    pub ageing: Duration,
    /// Lengths, ascending, that padded dimensions are padded up to; at most 64, default none. Where there are any, some
    /// input is [`Padding::Fill`].
    pub buckets: Vec<u64>,
}

/// `[warmup]`: the forward passes before the first request.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmupSection {
    /// Timed passes of each batch size; 3 to 100, default 3.
    pub passes: u32,
    /// What becomes of a model that does not batch as model.toml says; default [`WarmupRows::Limit`].
    pub rows: WarmupRows,
    /// How far an output may differ, relative to its value, between a row alone and in company; 0 = bit for bit. Default:
    /// what a change of the order of summation explains, by datatype.
    pub tolerance_ratio: Option<f64>,
    /// Size of free dimensions that have no buckets; 1 to 16,777,216, default found by trying.
    pub free_size: Option<u32>,
}

/// What becomes of a model that gives wrong rows, or none, for batches of `max_batch_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmupRows {
    /// `"limit"`: it serves with the largest batches that work, and a warning.
    Limit,
    /// `"require"`: it fails.
    Require,
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
