//! A multilayer perceptron: the fixed part of a pass is its weights from memory, which a batch shares.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::{
    folder::{toml, write},
    weights,
};

/// Its folder.
pub(crate) const NAME: &str = "mlp";

/// Largest batch.
pub(crate) const MAX_BATCH: u32 = 32;

/// Widths of its layers.
pub(crate) const WIDTHS: [i64; 4] = [1024, 2048, 2048, 1000];

/// Writes it.
pub(crate) fn make(repository: &Path) -> Result<PathBuf> {
    let _guard = tch::no_grad_guard();
    let [input, .., output] = WIDTHS;
    let layers: Vec<Tensor> =
        WIDTHS.array_windows().map(|&[from, to]| weights::random(&[to, from], from)).collect();
    let forward = |x: &Tensor| {
        let mut x = x.shallow_clone();
        for (index, layer) in layers.iter().enumerate() {
            x = x.linear(layer, None::<&Tensor>);
            if index + 1 < layers.len() {
                x = x.relu();
            }
        }
        x
    };
    let toml = toml(MAX_BATCH, ("FP32", &[input]), ("FP32", &[output]));
    write(repository, NAME, &toml, Tensor::zeros([2, input], (Kind::Float, Device::Cpu)), forward)
}
