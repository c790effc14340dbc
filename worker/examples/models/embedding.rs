//! A table that is looked up: an index outside it makes the whole forward pass fail.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::{
    folder::{toml, write},
    weights,
};

/// Its folder.
const NAME: &str = "embedding";

/// Rows of the table, and their width.
const TABLE: [i64; 2] = [1000, 16];

/// Indices of a request's row.
const WORDS: i64 = 8;

/// Writes it.
pub(crate) fn make(repository: &Path) -> Result<PathBuf> {
    let _guard = tch::no_grad_guard();
    let [_, width] = TABLE;
    let table = weights::random(&TABLE, width);
    let forward = |x: &Tensor| {
        Tensor::embedding(&table, x, -1, false, false).mean_dim(&[1_i64][..], false, Kind::Float)
    };
    let toml = toml(32, ("INT64", &[WORDS]), ("FP32", &[width]));
    write(repository, NAME, &toml, Tensor::zeros([2, WORDS], (Kind::Int64, Device::Cpu)), forward)
}
