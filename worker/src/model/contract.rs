//! Whether what a model gave is what model.toml promises to clients.
//!
//! Used by lanes on every batch and by warm-up before the first request. Pure.

use weir_config::model::TensorSpec;

use super::{ModelSpec, length::padded_dim};
use crate::backend::{BackendError, OutputBatch};

/// Checks the number, types and shapes of the outputs of a batch of `rows`, whose inputs were padded to `bucket` where the
/// model pads.
///
/// # Errors
/// Names the first output that differs and both shapes.
pub fn check_outputs(
    spec: &ModelSpec,
    outputs: &[OutputBatch],
    rows: u32,
    bucket: Option<u64>,
) -> Result<(), BackendError> {
    if outputs.len() != spec.outputs.len() {
        let (given, named) = (outputs.len(), spec.outputs.len());
        let message = format!("the model gave {given} outputs where model.toml names {named}");
        return Err(BackendError::new(message));
    }
    let mut pairs = spec.outputs.iter().zip(outputs);
    pairs.try_for_each(|(expected, output)| {
        check_output(spec, expected, output, rows)?;
        check_length(expected, output, bucket)
    })
}

fn check_output(
    spec: &ModelSpec,
    expected: &TensorSpec,
    output: &OutputBatch,
    rows: u32,
) -> Result<(), BackendError> {
    let fits = |(at, (want, dim)): (usize, (&i64, &i64))| {
        if spec.is_batch_dim(at) { *dim == i64::from(rows) } else { *want < 0 || want == dim }
    };
    let shape_fits = expected.shape.len() == output.shape.len()
        && expected.shape.iter().zip(&output.shape).enumerate().all(fits);
    if output.datatype == expected.datatype && shape_fits {
        return Ok(());
    }
    let (name, want, got) = (&expected.name, expected.datatype, output.datatype);
    Err(BackendError::new(format!(
        "output '{name}' is {got} {:?} for {rows} rows where model.toml says {want} {:?}",
        output.shape, expected.shape
    )))
}

/// An output that is cut back to the length of each request must be as long as the padded inputs.
fn check_length(
    expected: &TensorSpec,
    output: &OutputBatch,
    bucket: Option<u64>,
) -> Result<(), BackendError> {
    let length = padded_dim(expected).and_then(|at| output.shape.get(at)).map(|dim| dim.unsigned_abs());
    match (length, bucket) {
        (Some(length), Some(bucket)) if length != bucket => Err(BackendError::new(format!(
            "output '{}' has length {length} for inputs padded to {bucket}, and model.toml says unpad",
            expected.name
        ))),
        _ => Ok(()),
    }
}
