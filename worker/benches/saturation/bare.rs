//! The forward pass with nothing around it: the ceiling.

use std::time::Duration;

use anyhow::Result;
use tch::{CModule, Device, Kind, Tensor};
use weir_worker::clock::Clock;

use crate::models::{MAX_BATCH, Model};

/// How long a batch size is measured.
const WINDOW: Duration = Duration::from_secs(4);

/// A model in this process.
pub(crate) struct Bare {
    module: CModule,
    row: &'static [i64],
}

impl Bare {
    pub(crate) fn load(model: &Model) -> Result<Self> {
        tch::set_num_threads(1);
        let mut module = CModule::load_on_device(&model.file, Device::Cpu)?;
        module.f_set_eval()?;
        Ok(Self { module, row: model.input.1 })
    }

    /// Rows per second at a batch size, between those of the two whole sizes around it.
    pub(crate) fn rows_per_second(&self, batch: f64) -> Result<f64> {
        let (mut below, mut share) = (0.0, 0.0);
        for rows in 1..=MAX_BATCH {
            let distance = (batch - f64::from(rows)).abs();
            if distance < 1.0 {
                below += (1.0 - distance) * self.seconds(rows)?;
                share += 1.0 - distance;
            }
        }
        Ok(batch * share / below)
    }

    /// Mean time of a forward pass of so many rows.
    fn seconds(&self, rows: u32) -> Result<f64> {
        let _guard = tch::no_grad_guard();
        let shape: Vec<i64> = std::iter::once(i64::from(rows)).chain(self.row.iter().copied()).collect();
        let input = Tensor::full(&shape[..], 0.5, (Kind::Float, Device::Cpu));
        for _ in 0..3 {
            drop(self.module.forward_ts(&[&input])?);
        }
        let (clock, mut passes) = (Clock::start(), 0_u32);
        while clock.now() < WINDOW {
            drop(self.module.forward_ts(&[&input])?);
            passes += 1;
        }
        Ok(clock.now().as_secs_f64() / f64::from(passes))
    }
}
