//! The load report: what a worker says of itself to gateways on `GET /v2/load`.
//!
//! The gateway learns from it which model versions exist where and in which state. Counters are cumulative since
//! the worker started; nothing in it is a wall clock.

use serde::{Deserialize, Serialize};

use crate::{Bytes, ModelName, Version, WorkerId};

/// Format number of [`LoadReport`]; a gateway refuses any other.
pub const FORMAT: u32 = 1;

/// Life of one model version on one worker. Wire codes count from 0 in this order (DESIGN.md section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// In the repository, not in memory.
    Absent,
    /// Being read and verified.
    Loading,
    /// Running its first forward passes.
    Warming,
    /// Answering requests.
    Serving,
    /// Finishing what it accepted; nothing new.
    Draining,
    /// Could not be loaded; the report says why.
    Failed,
}

impl Lifecycle {
    /// Lower-case name, as in the report and in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

/// `GET /v2/load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The worker's own name.
    pub worker: WorkerId,
    /// Boot id: another value means that the worker was restarted and `seq` and model ids began again.
    pub epoch: u64,
    /// Counts reports of this epoch, from 1.
    pub seq: u64,
    /// False once the worker is shutting down: nothing new is accepted.
    pub accepting: bool,
    /// Devices that models run on.
    pub devices: Vec<DeviceLoad>,
    /// Every model version in the repository, loaded or not.
    pub models: Vec<ReplicaLoad>,
}

/// One device of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLoad {
    /// Index that [`ReplicaLoad::device`] refers to.
    pub id: u32,
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Memory that models may use in all, in bytes.
    pub total: Bytes,
    /// Memory still free of it, in bytes.
    pub free: Bytes,
}

/// One model version on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLoad {
    /// Id of this (model, version), from 1, fixed for the epoch, never reused.
    pub id: u32,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// Where it is in its life.
    pub state: Lifecycle,
    /// Why it failed; absent in every other state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Device it runs on.
    pub device: u32,
    /// Size of the model's file, in bytes.
    pub size: Bytes,
    /// Largest batch, in rows; at least 1.
    pub max_batch_size: u32,
    /// Rows waiting in the queue.
    pub queued: u64,
    /// Requests accepted and not yet answered, queued ones included.
    pub in_flight: u64,
    /// Requests accepted so far.
    pub arrivals: u64,
}
