//! The models that are measured: an MLP that is made here, and the sample's digits where they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::mlp;

/// Largest batch of every model here.
pub(crate) const MAX_BATCH: u32 = mlp::MAX_BATCH;

/// A model in a repository of its own.
pub(crate) struct Model {
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// The repository.
    pub(crate) repository: PathBuf,
    /// The model.pt to run bare.
    pub(crate) file: PathBuf,
    /// Name and shape of the input, the batch dimension left out.
    pub(crate) input: (&'static str, &'static [i64]),
}

/// Every model, made in or copied to `folder`.
pub(crate) fn all(folder: &Path) -> Result<Vec<Model>> {
    let repository = folder.join(mlp::NAME);
    let file = mlp::make(&repository)?;
    let mut models = vec![Model { name: mlp::NAME, repository, file, input: ("x", &mlp::WIDTHS[..1]) }];
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits");
    if sample.join("2/model.pt").is_file() {
        models.push(digits(&sample, &folder.join("digits"))?);
    }
    Ok(models)
}

fn digits(sample: &Path, repository: &Path) -> Result<Model> {
    let version = repository.join("digits/2");
    fs::create_dir_all(&version)?;
    for file in ["model.toml", "labels.txt"] {
        fs::copy(sample.join(file), repository.join("digits").join(file))?;
    }
    let file = version.join("model.pt");
    fs::copy(sample.join("2/model.pt"), &file)?;
    Ok(Model { name: "digits", repository: repository.to_owned(), file, input: ("image", &[1, 8, 8]) })
}
