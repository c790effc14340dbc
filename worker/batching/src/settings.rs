//! What an operator sets, for a device and for the queue of one model version on it.
//!
//! Plain data, checked by whoever reads the configuration; made from `worker.toml`, `model.toml` and what warm-up
//! measured.

use std::time::Duration;

use crate::{BatchCost, ShapeKey};

/// What holds for all queues of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Batches that run at the same time, over all queues; at least 1.
    pub lanes: u32,
    /// Which queue a free lane serves.
    pub turn_order: TurnOrder,
}

/// Whose turn it is among the queues of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TurnOrder {
    /// The queue whose oldest ticket came first.
    #[default]
    Arrival,
    /// As `Arrival`, with a tenth of the queue's [`QueueSettings::default_timeout`] added to the arrival: models whose
    /// answers are wanted soon go a little before those that have time.
    Slo,
}

/// What holds for the queue of one model version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Most rows of one batch; at least 1.
    pub max_batch_rows: u32,
    /// Longest wait for company while a lane is free; zero = never wait.
    pub max_queue_delay: Duration,
    /// Batch sizes in rows, ascending: a batch that has one of them waits no longer for company, and a batch that need
    /// not take more is cut to the largest of them that it fills. Empty = none is preferred.
    pub preferred_batch_rows: Vec<u32>,
    /// Most rows in the queue; a request that would exceed it is refused. An empty queue takes any request.
    pub max_queued_rows: u32,
    /// Time that an answer is useful when the request names none. The caller has applied it to each ticket; here it
    /// only orders turns ([`TurnOrder::Slo`]).
    pub default_timeout: Option<Duration>,
    /// Waiting this long raises a ticket by one priority class; above zero.
    pub ageing: Duration,
    /// Batches of this queue that run at the same time; at least 1.
    pub lanes: u32,
    /// What a batch costs, by bucket, as warm-up measured it with every lane of the device at work. Buckets that are
    /// not here are learned from their first batches.
    pub costs: Vec<(ShapeKey, BatchCost)>,
    /// Most rows of a batch that are worth while, by bucket, as warm-up found (`useful_rows`).
    pub useful_rows: Vec<(ShapeKey, u32)>,
}
