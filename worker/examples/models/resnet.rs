//! A ResNet-18 with its normalisation folded into the convolutions, as it is served: 1.8 GFLOP and 600 KB a row.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::{
    folder::{toml, write},
    weights,
};

/// Its folder.
pub(crate) const NAME: &str = "resnet18";

/// Channels, height and width of its image.
pub(crate) const IMAGE: [i64; 3] = [3, 224, 224];

/// Classes.
const CLASSES: i64 = 1000;

/// Largest batch.
const MAX_BATCH: u32 = 8;

/// Channels of the four stages, each of two blocks; every stage but the first halves height and width.
const STAGES: [i64; 4] = [64, 128, 256, 512];

/// Writes it.
pub(crate) fn make(repository: &Path) -> Result<PathBuf> {
    let _guard = tch::no_grad_guard();
    let [colours, height, width] = IMAGE;
    let stem = Convolution::new(colours, 64, 7, 2);
    let blocks = blocks();
    let classes = weights::random(&[CLASSES, 512], 512);
    let forward = |image: &Tensor| {
        let x = stem.apply(image).relu().max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        let x = blocks.iter().fold(x, |x, block| block.apply(&x));
        // Over height and width by their place, so that no batch size gets into the trace.
        x.mean_dim(&[2_i64, 3][..], false, Kind::Float).linear(&classes, None::<&Tensor>)
    };
    let toml = toml(MAX_BATCH, ("FP32", &IMAGE), ("FP32", &[CLASSES]));
    let sample = Tensor::zeros([2, colours, height, width], (Kind::Float, Device::Cpu));
    write(repository, NAME, &toml, sample, forward)
}

fn blocks() -> Vec<Block> {
    let mut from = 64;
    let mut blocks = Vec::new();
    for to in STAGES {
        let stride = if to == from { 1 } else { 2 };
        blocks.push(Block::new(from, to, stride));
        blocks.push(Block::new(to, to, 1));
        from = to;
    }
    blocks
}

/// Two convolutions, and what went in added to what comes out.
struct Block {
    first: Convolution,
    second: Convolution,
    /// Brings what went in to the size of what comes out, where that is another.
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(from: i64, to: i64, stride: i64) -> Self {
        Self {
            first: Convolution::new(from, to, 3, stride),
            second: Convolution::new(to, to, 3, 1),
            shortcut: (stride > 1).then(|| Convolution::new(from, to, 1, stride)),
        }
    }

    fn apply(&self, x: &Tensor) -> Tensor {
        let passed = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |shortcut| shortcut.apply(x));
        (self.second.apply(&self.first.apply(x).relu()) + passed).relu()
    }
}

struct Convolution {
    weights: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Convolution {
    fn new(from: i64, to: i64, size: i64, stride: i64) -> Self {
        // Half of the usual size: sums of residual blocks grow, and nothing here normalises.
        let weights = weights::random(&[to, from, size, size], from * size * size) * 0.5;
        Self { weights, bias: Tensor::zeros([to], (Kind::Float, Device::Cpu)), stride, padding: size / 2 }
    }

    fn apply(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(&self.weights, Some(&self.bias), stride, padding, [1, 1], 1)
    }
}
