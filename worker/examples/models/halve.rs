//! Half of each of 1,024 values: a model that costs next to nothing, so that what is left is the worker itself.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::folder::{toml, write};

/// Its folder.
pub(crate) const NAME: &str = "halve";

/// Values of a row: 4 KiB of FP32.
pub(crate) const WIDTH: i64 = 1024;

/// Writes it.
pub(crate) fn make(repository: &Path) -> Result<PathBuf> {
    let toml = toml(32, ("FP32", &[WIDTH]), ("FP32", &[WIDTH]));
    write(repository, NAME, &toml, Tensor::zeros([2, WIDTH], (Kind::Float, Device::Cpu)), |x| x * 0.5)
}
