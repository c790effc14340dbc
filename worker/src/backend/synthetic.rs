//! No model at all: a parametric cost, for load tests and for trying out a fleet without libtorch.
//!
//! A forward pass takes (base + per_item x rows) / speed, varied by a lognormal factor of mean 1. An output that has
//! the type and shape of the first input echoes it, so that answers can be checked; others are zeros, or empty BYTES.

use std::{f64::consts::TAU, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rand::RngExt;
use weir_config::model::{SyntheticSection, TensorSpec};

use super::{Backend, BackendError, Host, InputBatch, OutputBatch, element_count};
use crate::device::Held;

/// A stand-in for a model.
struct Synthetic {
    section: SyntheticSection,
    outputs: Vec<TensorSpec>,
    /// Touched, so that it is really resident.
    _memory: Vec<u8>,
    _held: Held,
}

/// "Loads" a synthetic model: takes its time and its memory.
pub fn load(section: &SyntheticSection, outputs: &[TensorSpec], host: &Host) -> Arc<dyn Backend> {
    occupy(section.load_time);
    Arc::new(Synthetic {
        section: section.clone(),
        outputs: outputs.to_vec(),
        _memory: vec![1; section.memory.as_usize()],
        _held: host.cpu.hold(section.memory),
    })
}

impl Backend for Synthetic {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let first = inputs.first().ok_or_else(|| BackendError::new("a batch without inputs"))?;
        let rows = first.shape.first().copied().unwrap_or(1).max(1);
        occupy(cost(&self.section, rows).mul_f64(lognormal(self.section.noise_ratio)));
        if rand::rng().random::<f64>() < self.section.failure_ratio {
            return Err(BackendError::new("synthetic failure"));
        }
        self.outputs.iter().map(|spec| output(spec, first, rows)).collect()
    }
}

fn output(spec: &TensorSpec, first: &InputBatch<'_>, rows: i64) -> Result<OutputBatch, BackendError> {
    if spec.datatype == first.datatype && fits(&spec.shape, &first.shape) {
        let data = Bytes::from(first.concat());
        return Ok(OutputBatch { datatype: spec.datatype, shape: first.shape.clone(), data });
    }
    let free = |(at, &dim): (usize, &i64)| {
        if dim >= 0 {
            dim
        } else if at == 0 {
            rows
        } else {
            1
        }
    };
    let shape: Vec<_> = spec.shape.iter().enumerate().map(free).collect();
    // The raw form of an empty element of BYTES is its length, 0.
    let size = spec.datatype.size().unwrap_or(size_of::<u32>());
    let len = element_count(&shape)
        .and_then(|elements| elements.checked_mul(size))
        .ok_or_else(|| BackendError::new(format!("output '{}' is too large", spec.name)))?;
    Ok(OutputBatch { datatype: spec.datatype, shape, data: Bytes::from(vec![0; len]) })
}

fn fits(spec: &[i64], shape: &[i64]) -> bool {
    spec.len() == shape.len() && spec.iter().zip(shape).all(|(want, dim)| *want < 0 || want == dim)
}

/// How long a forward pass of so many rows takes, noise left out.
#[must_use]
pub fn cost(section: &SyntheticSection, rows: i64) -> Duration {
    let items = section.per_item.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
    section.base.saturating_add(items).div_f64(section.speed)
}

/// A factor of mean 1 and standard deviation `ratio`.
fn lognormal(ratio: f64) -> f64 {
    if ratio <= 0.0 {
        return 1.0;
    }
    let variance = ratio.mul_add(ratio, 1.0).ln();
    // Box-Muller: a standard normal value from two uniform ones, the first above zero.
    let (u, v) = (1.0 - rand::rng().random::<f64>(), rand::rng().random::<f64>());
    let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
    normal.mul_add(variance.sqrt(), -variance / 2.0).exp()
}

/// Holds the lane thread for a while, as a forward pass would, without using the processor.
fn occupy(time: Duration) {
    let never = Mutex::new(());
    // Nobody notifies; parking_lot has no spurious wake-ups.
    Condvar::new().wait_for(&mut never.lock(), time);
}

#[cfg(test)]
mod tests;
