//! A model's folder: its model.toml, and version 1 as TorchScript.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tch::{CModule, Tensor};

/// Writes a model of one input `x` and one output `y` and returns the path of its model.pt. `sample` is what the forward
/// pass is traced with; it must have more than one row, so that a batch size that gets baked in shows.
pub(crate) fn write(
    repository: &Path,
    name: &str,
    toml: &str,
    sample: Tensor,
    forward: impl Fn(&Tensor) -> Tensor,
) -> Result<PathBuf> {
    let version = repository.join(name).join("1");
    fs::create_dir_all(&version)?;
    fs::write(repository.join(name).join("model.toml"), toml)?;
    let file = version.join("model.pt");
    let mut traced = |inputs: &[Tensor]| inputs.iter().map(&forward).collect::<Vec<_>>();
    CModule::create_by_tracing("Model", "forward", &[sample], &mut traced)?.save(&file)?;
    Ok(file)
}

/// A model.toml: the largest batch, and datatype and shape of `x` and `y` without the batch dimension.
pub(crate) fn toml(max_batch_size: u32, input: (&str, &[i64]), output: (&str, &[i64])) -> String {
    let table = |kind, name, (datatype, shape): (&str, &[i64])| {
        let dims: String = shape.iter().map(|dim| format!(", {dim}")).collect();
        format!("[[{kind}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = [-1{dims}]\n")
    };
    format!(
        "max_batch_size = {max_batch_size}\n{}{}",
        table("input", "x", input),
        table("output", "y", output)
    )
}
