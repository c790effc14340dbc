//! The forward pass with nothing around it: the ceiling.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tch::{CModule, Device, Kind, Tensor};
use weir_worker::clock::Clock;

use crate::{
    cpu,
    models::{MAX_BATCH, Model},
};

/// The kernel's account of the calling thread.
const THIS_THREAD: &str = "/proc/thread-self/stat";

/// Rows that the bare forward does.
pub(crate) struct Pace {
    /// In a second.
    pub(crate) per_second: f64,
    /// In a second of CPU time: does not count waiting for a core.
    pub(crate) per_cpu_second: f64,
}

/// A model in this process.
pub(crate) struct Bare {
    module: CModule,
    row: &'static [i64],
    /// How long a batch size is measured.
    length: Duration,
}

impl Bare {
    pub(crate) fn load(model: &Model, length: Duration) -> Result<Self> {
        tch::set_num_threads(1);
        let mut module = CModule::load_on_device(&model.file, Device::Cpu)?;
        module.f_set_eval()?;
        Ok(Self { module, row: model.input.1, length })
    }

    /// The pace at a batch size, between those of the two whole sizes around it.
    pub(crate) fn pace(&self, batch: f64) -> Result<Pace> {
        let (mut wall, mut cpu, mut share) = (0.0, 0.0, 0.0);
        for rows in 1..=MAX_BATCH {
            let part = 1.0 - (batch - f64::from(rows)).abs();
            if part > 0.0 {
                let (pass_wall, pass_cpu) = self.pass_seconds(rows)?;
                wall += part * pass_wall;
                cpu += part * pass_cpu;
                share += part;
            }
        }
        Ok(Pace { per_second: batch * share / wall, per_cpu_second: batch * share / cpu })
    }

    /// Mean wall and CPU time of a forward pass of so many rows.
    fn pass_seconds(&self, rows: u32) -> Result<(f64, f64)> {
        let _guard = tch::no_grad_guard();
        let shape: Vec<i64> = std::iter::once(i64::from(rows)).chain(self.row.iter().copied()).collect();
        let input = Tensor::full(&shape[..], 0.5, (Kind::Float, Device::Cpu));
        for _ in 0..3 {
            drop(self.module.forward_ts(&[&input])?);
        }
        let (clock, before, mut passes) = (Clock::start(), cpu::seconds(Path::new(THIS_THREAD))?, 0_u32);
        while clock.now() < self.length {
            drop(self.module.forward_ts(&[&input])?);
            passes += 1;
        }
        let passes = f64::from(passes);
        Ok((clock.now().as_secs_f64() / passes, (cpu::seconds(Path::new(THIS_THREAD))? - before) / passes))
    }
}
