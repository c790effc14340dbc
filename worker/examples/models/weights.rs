//! Random weights.

use tch::{Device, Kind, Tensor};

/// Random weights whose sums over `inputs` values keep the size of what goes in.
pub(crate) fn random(shape: &[i64], inputs: i64) -> Tensor {
    // Fan-ins are small integers.
    let scale = (2.0 / inputs as f64).sqrt();
    Tensor::randn(shape, (Kind::Float, Device::Cpu)) * scale
}
