//! Forward passes of one model version in one shape, over rows that are made up and checked against model.toml.
//!
//! Part of `warmup`, which decides what to run; timed passes call it from several threads.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{Time, compare, sample::Samples};
use crate::{
    backend::{Backend, BackendError, OutputBatch},
    model::{ModelSpec, contract},
};

/// Passes until TorchScript runs at its steady speed (measured: 50-250 ms, 3-95 ms, steady).
const FIRST_PASSES: u32 = 3;

/// A pass this long is not repeated: beside it, what first passes take longer is little.
const LONG_PASS: Duration = Duration::from_secs(2);

/// What passes are made of.
pub(super) struct Probe<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) backend: &'a dyn Backend,
    pub(super) samples: Samples,
    /// Length that padded dimensions have, in a model that pads.
    pub(super) bucket: Option<u64>,
    /// How far rows may differ; see [`compare::same_row`].
    pub(super) tolerance: Option<f64>,
    pub(super) time: &'a Time,
}

/// A forward pass that gave what model.toml says.
pub(super) struct Pass {
    pub(super) outputs: Vec<OutputBatch>,
    pub(super) time: Duration,
}

impl Probe<'_> {
    /// One forward pass.
    pub(super) fn pass(&self, rows: Range<u32>) -> Result<Pass, String> {
        let inputs = self.samples.batch(rows.clone());
        let began = (self.time)();
        let outputs = catch_unwind(AssertUnwindSafe(|| self.backend.forward(&inputs)))
            .unwrap_or_else(|_| Err(BackendError::new("the forward pass panicked")));
        let time = (self.time)().saturating_sub(began);
        let outputs = outputs.map_err(|error| error.summary)?;
        let count = rows.end.saturating_sub(rows.start);
        contract::check_outputs(self.spec, &outputs, count, self.bucket).map_err(|error| error.summary)?;
        Ok(Pass { outputs, time })
    }

    /// The first passes of one row.
    pub(super) fn first_passes(&self) -> Result<Pass, String> {
        let mut pass = self.pass(0..1)?;
        for _ in 1..FIRST_PASSES {
            pass = self.pass(0..1)?;
        }
        Ok(pass)
    }

    /// The time of a pass once the speed is steady. One has been made and took `first`.
    pub(super) fn steady(&self, rows: u32, first: Duration) -> Result<Duration, String> {
        let mut time = first;
        for _ in 1..FIRST_PASSES {
            if time >= LONG_PASS {
                break;
            }
            time = self.pass(0..rows)?.time;
        }
        Ok(time)
    }

    /// Whether a batch of so many rows gives its first and its last row what they give alone. `first` is what the
    /// first one gives. Answers the time of the batch.
    pub(super) fn works(&self, first: &[OutputBatch], rows: u32) -> Result<Duration, String> {
        let all = self.pass(0..rows).map_err(|why| format!("a batch of {rows} rows fails: {why}"))?;
        let last = self.pass(rows.saturating_sub(1)..rows)?;
        for (alone, row) in [(first, 0), (&last.outputs, rows.saturating_sub(1))] {
            for (spec, (alone, all)) in self.spec.outputs.iter().zip(alone.iter().zip(&all.outputs)) {
                if !compare::same_row(alone, all, (row, rows), self.tolerance) {
                    let name = &spec.name;
                    return Err(format!(
                        "output '{name}' of a row differs when the row runs in a batch of {rows}"
                    ));
                }
            }
        }
        Ok(all.time)
    }
}
