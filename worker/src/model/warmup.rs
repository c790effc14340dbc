//! The first forward passes of a model version: are its outputs as model.toml says, and does it really batch?
//!
//! Libtorch needs three passes to reach its steady speed, and a module that was traced may have the traced batch size
//! baked in. So a batch of one row and one of `max_rows` run before the first request, and rows are compared: a row
//! must give the same alone and in company. Pure but for the backend; called by `loader`.

use weir_config::model::TensorSpec;
use weir_protocol::Datatype;

use super::{ModelSpec, contract};
use crate::backend::{Backend, InputBatch, OutputBatch, element_count};

mod sample;

/// Passes until TorchScript runs at its steady speed (measured: 50-250 ms, 3-95 ms, steady).
const PASSES: u32 = 3;

/// Sizes to try for dimensions that model.toml leaves free, until one works.
const FREE_SIZES: [i64; 4] = [8, 32, 128, 224];

/// What warm-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmUp {
    /// Everything is as model.toml says.
    Good,
    /// It works, but not with several rows at once; the reason.
    OneRowOnly(String),
    /// Its free dimensions or texts could not be guessed, so nothing is known; what the model said.
    Unknown(String),
    /// It cannot serve; the reason.
    Bad(String),
}

/// Runs the first forward passes on the calling thread, which is prepared for them (`backend::enter_lane`).
pub fn run(spec: &ModelSpec, backend: &dyn Backend) -> WarmUp {
    let free = free_dimensions(spec);
    let sizes = if free { &FREE_SIZES[..] } else { &FREE_SIZES[..1] };
    let mut first_error = None;
    for &size in sizes {
        let found = Probe { spec, backend, size }.run();
        match found {
            WarmUp::Bad(why) => first_error = first_error.or(Some(why)),
            found => return found,
        }
    }
    let why = first_error.unwrap_or_default();
    // A model may well know a few words only.
    let texts = spec.inputs.iter().any(|input| input.datatype == Datatype::Bytes);
    if free || texts { WarmUp::Unknown(why) } else { WarmUp::Bad(why) }
}

fn free_dimensions(spec: &ModelSpec) -> bool {
    let dims = |tensor: &TensorSpec| tensor.shape.clone().into_iter().enumerate();
    spec.inputs.iter().flat_map(dims).any(|(at, dim)| dim < 0 && !spec.is_batch_dim(at))
}

/// One model with one size for its free dimensions.
struct Probe<'a> {
    spec: &'a ModelSpec,
    backend: &'a dyn Backend,
    size: i64,
}

impl Probe<'_> {
    fn run(&self) -> WarmUp {
        let max = self.spec.max_rows;
        let one = self.passes(&[0]);
        if max == 1 {
            return one.map_or_else(WarmUp::Bad, |_| WarmUp::Good);
        }
        let all = self.passes(&(0..max).collect::<Vec<_>>());
        match (one, all) {
            (Err(one), Ok(_)) => {
                WarmUp::Bad(format!("a batch of {max} rows works and a single row does not: {one}"))
            }
            (Err(one), Err(_)) => WarmUp::Bad(one),
            (Ok(_), Err(all)) => WarmUp::OneRowOnly(format!("a batch of {max} rows fails: {all}")),
            (Ok(first), Ok(all)) => self.compare(&first, &all),
        }
    }

    /// The first and the last row must give alone what they gave in a batch of the most rows.
    fn compare(&self, first: &[OutputBatch], all: &[OutputBatch]) -> WarmUp {
        let max = self.spec.max_rows;
        let last = match self.pass(&[max - 1]) {
            Ok(last) => last,
            Err(why) => return WarmUp::Bad(why),
        };
        for (alone, row) in [(first, 0), (&last, max - 1)] {
            let pairs = self.spec.outputs.iter().zip(alone.iter().zip(all));
            for (spec, (alone, all)) in pairs {
                if !sample::same_row(alone, all, row, max) {
                    let name = &spec.name;
                    return WarmUp::OneRowOnly(format!(
                        "output '{name}' of a row differs when the row runs in a batch of {max}"
                    ));
                }
            }
        }
        WarmUp::Good
    }

    fn passes(&self, rows: &[u32]) -> Result<Vec<OutputBatch>, String> {
        for _ in 1..PASSES {
            self.pass(rows)?;
        }
        self.pass(rows)
    }

    /// One forward pass over sample rows, checked against model.toml.
    fn pass(&self, rows: &[u32]) -> Result<Vec<OutputBatch>, String> {
        let inputs: Vec<_> =
            self.spec.inputs.iter().map(|input| self.input(input, rows)).collect::<Result<_, _>>()?;
        let batches: Vec<_> = inputs.iter().map(Sample::batch).collect();
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let outputs = self.backend.forward(&batches).map_err(|error| error.summary)?;
        contract::check_outputs(self.spec, &outputs, count, None).map_err(|error| error.summary)?;
        Ok(outputs)
    }

    fn input(&self, spec: &TensorSpec, rows: &[u32]) -> Result<Sample, String> {
        let dims = |batch: i64| {
            let dim = |(at, &dim): (usize, &i64)| {
                if self.spec.is_batch_dim(at) {
                    batch
                } else if dim < 0 {
                    self.size
                } else {
                    dim
                }
            };
            spec.shape.iter().enumerate().map(dim).collect::<Vec<_>>()
        };
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let size = spec.datatype.size().unwrap_or(sample::TEXT_BYTES);
        // The whole batch must be possible before any of it is made.
        let whole = element_count(&dims(count)).and_then(|elements| elements.checked_mul(size));
        let elements = whole.and(element_count(&dims(1)));
        let elements = elements.ok_or_else(|| format!("input '{}' is too large to be made", spec.name))?;
        let parts = rows.iter().map(|&row| sample::row(spec.datatype, elements, row)).collect();
        Ok(Sample { datatype: spec.datatype, shape: dims(count), parts })
    }
}

/// An input made of sample rows.
struct Sample {
    datatype: Datatype,
    shape: Vec<i64>,
    parts: Vec<Vec<u8>>,
}

impl Sample {
    fn batch(&self) -> InputBatch<'_> {
        let parts = self.parts.iter().map(Vec::as_slice).collect();
        InputBatch::whole(self.datatype, self.shape.clone(), parts)
    }
}

#[cfg(test)]
mod tests;
