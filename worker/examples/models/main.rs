//! Writes models to measure and to test with into a repository: weights are random, costs are those of the real thing.
//!
//!     cargo run -p weir-worker --example models -- mlp resnet18 REPOSITORY
//!
//! Each becomes REPOSITORY/NAME/model.toml and REPOSITORY/NAME/1/model.pt. Benches take the same files in as modules.

mod embedding;
mod folder;
mod halve;
mod mlp;
mod resnet;
mod weights;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Writes models with random weights into a repository.
#[derive(Parser)]
struct Options {
    /// Models to write
    #[arg(required = true, value_enum)]
    models: Vec<Model>,
    /// The repository's folder; made when it is not there
    repository: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// Four layers: FP32 [-1, 1024] to FP32 [-1, 1000], 8.3 million weights
    Mlp,
    /// A ResNet-18: FP32 [-1, 3, 224, 224] to FP32 [-1, 1000], 1.8 GFLOP a row
    Resnet18,
    /// The mean of 8 rows of a table of 1,000: INT64 [-1, 8] to FP32 [-1, 16]; an index outside 0 to 999 fails
    Embedding,
    /// Half of each value: FP32 [-1, 1024] to the same
    Halve,
}

fn main() -> Result<()> {
    let Options { models, repository } = Options::parse();
    for model in models {
        let file = match model {
            Model::Mlp => mlp::make(&repository),
            Model::Resnet18 => resnet::make(&repository),
            Model::Embedding => embedding::make(&repository),
            Model::Halve => halve::make(&repository),
        }?;
        println!("{}", file.display());
    }
    Ok(())
}
