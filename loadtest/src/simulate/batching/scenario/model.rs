//! A simulated model: what its batches really take, and what its queue is told.

use std::time::Duration;

use serde::Deserialize;
use weir_batching::{BatchCost, QueueSettings, ShapeKey};

use super::defaults;

/// A model: what its batches cost and how its queue is set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Time that every batch takes.
    #[serde(deserialize_with = "defaults::duration")]
    pub base: Duration,
    /// Time that every row takes.
    #[serde(deserialize_with = "defaults::duration")]
    pub per_row: Duration,
    /// Rows of a full batch.
    pub max_batch_rows: u32,
    /// How long batches of each shape bucket take, as multiples of `base` and `per_row`; one bucket by default.
    #[serde(default = "defaults::one_bucket")]
    pub bucket_ratios: Vec<f64>,
    /// What the queue is told of the cost, as a share of the truth; 1 by default.
    #[serde(default = "defaults::whole")]
    pub believed_ratio: f64,
    /// Rows of a batch that are worth while; no bound by default.
    #[serde(default)]
    pub useful_rows: Option<u32>,
    /// Longest wait for company; none by default.
    #[serde(default, deserialize_with = "defaults::duration")]
    pub max_queue_delay: Duration,
    /// Sizes that need no more company; none by default.
    #[serde(default)]
    pub preferred_batch_rows: Vec<u32>,
    /// Most rows that may wait; 65,536 by default, more than any scenario reaches.
    #[serde(default = "defaults::roomy")]
    pub max_queued_rows: u32,
    /// Wait that raises a request by one priority class; 1 s by default.
    #[serde(default = "defaults::ageing", deserialize_with = "defaults::duration")]
    pub ageing: Duration,
    /// Batches of this model that run at once; as many as the device has lanes by default.
    #[serde(default)]
    pub lanes: Option<u32>,
}

impl Model {
    /// A model with these batches and every other key at its default.
    #[must_use]
    pub fn of(cost: BatchCost, max_batch_rows: u32) -> Self {
        Self {
            base: cost.base,
            per_row: cost.per_unit,
            max_batch_rows,
            bucket_ratios: defaults::one_bucket(),
            believed_ratio: defaults::whole(),
            useful_rows: None,
            max_queue_delay: Duration::ZERO,
            preferred_batch_rows: Vec::new(),
            max_queued_rows: defaults::roomy(),
            ageing: defaults::ageing(),
            lanes: None,
        }
    }

    /// What batches of a bucket take.
    pub(crate) fn cost(&self, bucket: usize) -> BatchCost {
        self.scaled(self.bucket_ratios.get(bucket).copied().unwrap_or(defaults::whole()))
    }

    /// What the queue is told that batches of a bucket take.
    pub(crate) fn believed(&self, bucket: usize) -> BatchCost {
        self.scaled(
            self.bucket_ratios.get(bucket).copied().unwrap_or(defaults::whole()) * self.believed_ratio,
        )
    }

    fn scaled(&self, ratio: f64) -> BatchCost {
        BatchCost { base: self.base.mul_f64(ratio), per_unit: self.per_row.mul_f64(ratio) }
    }

    /// The settings of its queue, on a device with `lanes`.
    pub(crate) fn queue_settings(&self, lanes: u32) -> QueueSettings {
        let buckets = 0..self.bucket_ratios.len();
        let useful = |bucket| self.useful_rows.map(|rows| (shape(bucket), rows));
        QueueSettings {
            max_batch_rows: self.max_batch_rows,
            max_queue_delay: self.max_queue_delay,
            preferred_batch_rows: self.preferred_batch_rows.clone(),
            max_queued_rows: self.max_queued_rows,
            default_timeout: None,
            ageing: self.ageing,
            lanes: self.lanes.unwrap_or(lanes),
            costs: buckets.clone().map(|bucket| (shape(bucket), self.believed(bucket))).collect(),
            useful_rows: buckets.filter_map(useful).collect(),
        }
    }
}

/// The shape of a bucket: its place in the model's list, from 1.
pub(crate) fn shape(bucket: usize) -> ShapeKey {
    ShapeKey(Box::new([bucket as u64 + 1]))
}
