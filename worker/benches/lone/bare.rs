//! The forward pass of one row with nothing around it.

use std::path::Path;

use anyhow::Result;
use tch::{CModule, Device, Kind, Tensor};

/// A model in this process, and its input.
pub(crate) struct Bare {
    module: CModule,
    input: Tensor,
}

impl Bare {
    /// Loads a model for rows of the shape.
    pub(crate) fn load(file: &Path, row: &[i64]) -> Result<Self> {
        tch::set_num_threads(1);
        let mut module = CModule::load_on_device(file, Device::Cpu)?;
        module.f_set_eval()?;
        let shape: Vec<i64> = std::iter::once(1).chain(row.iter().copied()).collect();
        Ok(Self { module, input: Tensor::full(&shape[..], 0.5, (Kind::Float, Device::Cpu)) })
    }

    /// One pass.
    pub(crate) fn pass(&self) -> Result<()> {
        let _guard = tch::no_grad_guard();
        drop(self.module.forward_ts(&[&self.input])?);
        Ok(())
    }
}
