//! What runs a model: the seam between the worker and libtorch, with a synthetic stand-in for load tests.
//!
//! A backend sees whole batches of raw tensors that were checked against model.toml; it knows nothing of requests,
//! queues or HTTP. `model::loader` makes one per model version; lane threads call it.

mod batch;
mod rows;
pub mod synthetic;
#[cfg(feature = "torch")]
pub mod torch;

use std::{any::Any, path::Path, sync::Arc};

use weir_config::{ModelConfig, model::BackendConfig};
use weir_protocol::Datatype;

pub use self::{
    batch::{BatchPadding, Element, InputBatch, OutputBatch},
    rows::{Rows, trim},
};
use crate::device::Cpu;

/// A forward pass or a load that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{summary}")]
pub struct BackendError {
    /// One line for a client: no paths, no stack frames.
    pub summary: String,
    /// Everything that is known, for the log.
    pub detail: String,
}

impl BackendError {
    /// An error whose whole text may be shown to a client.
    pub fn new(summary: impl Into<String>) -> Self {
        let summary = summary.into();
        Self { detail: summary.clone(), summary }
    }
}

/// Thread-local state of a lane (such as libtorch's grad mode). Restored on drop, on the thread that made it.
pub struct LaneScope(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any>);

impl LaneScope {
    /// Keeps a guard for as long as the lane lives.
    pub fn new(guard: impl Any) -> Self {
        Self(Box::new(guard))
    }
}

/// Runs batches of one model version. Shared by all lanes.
pub trait Backend: Send + Sync {
    /// Runs one batch, on a thread that was prepared ([`enter_lane`]), and returns the outputs in the order of
    /// model.toml, as the model gave them: shapes and types are checked by the caller. May panic only through a defect;
    /// lanes survive that.
    ///
    /// # Errors
    /// What the model or libtorch said.
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError>;
}

/// Prepares the calling thread for forward passes of every backend in this build; the thread keeps the scope for as long
/// as it makes them.
#[must_use]
pub fn enter_lane(intra_op_threads: usize) -> LaneScope {
    #[cfg(feature = "torch")]
    return torch::enter_lane(intra_op_threads);
    #[cfg(not(feature = "torch"))]
    {
        let _ = intra_op_threads;
        LaneScope::new(())
    }
}

/// Whether the backend takes BYTES as texts: UTF-8 without NUL.
#[must_use]
pub fn takes_texts(config: &BackendConfig) -> bool {
    match config {
        BackendConfig::Torch => true,
        BackendConfig::Synthetic(_) => false,
    }
}

/// The `platform` of a model's metadata.
#[must_use]
pub fn platform(config: &BackendConfig) -> &'static str {
    match config {
        BackendConfig::Torch => "pytorch_libtorch",
        BackendConfig::Synthetic(_) => "weir_synthetic",
    }
}

/// The `backend` of a model's configuration.
#[must_use]
pub fn name(config: &BackendConfig) -> &'static str {
    match config {
        BackendConfig::Torch => "pytorch",
        BackendConfig::Synthetic(_) => "weir_synthetic",
    }
}

/// Settings of the machine that backends need.
#[derive(Debug, Clone)]
pub struct Host {
    /// The device, for memory that malloc's statistics do not show.
    pub cpu: Arc<Cpu>,
    /// Threads that one forward pass may use; at least 1.
    pub intra_op_threads: usize,
}

/// Loads a model version. `file` is its `model.pt`; a synthetic model needs none. Blocks.
///
/// # Errors
/// The file cannot be loaded, or model.toml names a datatype that the backend does not have.
pub fn load(config: &ModelConfig, file: &Path, host: &Host) -> Result<Arc<dyn Backend>, BackendError> {
    match &config.backend {
        BackendConfig::Synthetic(section) => Ok(synthetic::load(section, &config.outputs, host)),
        #[cfg(feature = "torch")]
        BackendConfig::Torch => torch::load(config, file),
        #[cfg(not(feature = "torch"))]
        BackendConfig::Torch => {
            let _ = file;
            Err(BackendError::new("this build has no torch backend: build with feature `torch`"))
        }
    }
}

/// Bytes of a tensor of that type and shape; `None` for BYTES, negative dimensions and overflow.
#[must_use]
pub fn byte_len(datatype: Datatype, shape: &[i64]) -> Option<usize> {
    element_count(shape)?.checked_mul(datatype.size()?)
}

/// Elements of a tensor of that shape; `None` for negative dimensions and overflow.
#[must_use]
pub fn element_count(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_lengths_refuse_negative_and_overflowing_shapes() {
        assert_eq!(byte_len(Datatype::Fp32, &[2, 3]), Some(24));
        assert_eq!(byte_len(Datatype::Fp32, &[]), Some(4));
        assert_eq!(byte_len(Datatype::Fp32, &[-1, 3]), None);
        assert_eq!(byte_len(Datatype::Uint8, &[i64::MAX, 4]), None);
        assert_eq!(byte_len(Datatype::Bytes, &[1]), None);
    }
}
