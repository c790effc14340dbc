//! Model repositories on disk: synthetic models of any cost, and the sample.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::place::sample_repository;

/// Echoes one row of any length.
const ECHO: &str = "backend = \"synthetic\"\nmax_batch_size = 1\n\
    [[input]]\nname = \"x\"\ndatatype = \"UINT8\"\nshape = [-1, -1]\n\
    [[output]]\nname = \"y\"\ndatatype = \"UINT8\"\nshape = [-1, -1]\n\
    [synthetic]\nbase = \"1ms\"\nper_item = \"0s\"\n";

/// A folder of models.
#[derive(Debug, Clone)]
pub struct Repository {
    folder: PathBuf,
}

/// A model without weights: one FP32 input `x` and one output `y` of the same shape, which echoes it.
#[derive(Debug, Clone, Copy)]
pub struct Synthetic {
    /// Values a row.
    pub width: usize,
    /// Fixed part of a forward pass.
    pub base: Duration,
    /// Largest batch, in rows.
    pub max_batch_size: u32,
    /// Most rows waiting.
    pub max_queue_size: u32,
    /// Versions, from 1.
    pub versions: u32,
    /// How long loading takes.
    pub load_time: Duration,
}

impl Default for Synthetic {
    /// Four values a row, 2 ms a pass of up to 64 rows, one version, loaded at once.
    fn default() -> Self {
        Self {
            width: 4,
            base: Duration::from_millis(2),
            max_batch_size: 64,
            max_queue_size: 4096,
            versions: 1,
            load_time: Duration::ZERO,
        }
    }
}

impl Repository {
    /// An empty repository in a new folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a synthetic model.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&self, name: &str, model: &Synthetic) -> Result<()> {
        for version in 1..=model.versions {
            fs::create_dir_all(self.folder.join(name).join(version.to_string()))?;
        }
        self.write(&format!("{name}/model.toml"), &model.toml()?)
    }

    /// Adds a model that answers one row of bytes `x`, of any length, with the same as `y`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_echo(&self, name: &str) -> Result<()> {
        fs::create_dir_all(self.folder.join(name).join("1"))?;
        self.write(&format!("{name}/model.toml"), ECHO)
    }

    /// Adds the sample model `digits` with both versions.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn add_digits(&self) -> Result<()> {
        let (from, to) = (sample_repository().join("digits"), self.folder.join("digits"));
        for file in ["model.toml", "labels.txt", "1/model.pt", "2/model.pt"] {
            let target = to.join(file);
            fs::create_dir_all(target.parent().unwrap_or(&to))?;
            fs::copy(from.join(file), target)?;
        }
        Ok(())
    }

    /// Gives a model's versions labels, as TOML: `stable = 1`.
    ///
    /// # Errors
    /// The model is not there.
    pub fn label(&self, model: &str, labels: &str) -> Result<()> {
        let file = format!("{model}/model.toml");
        let toml = fs::read_to_string(self.folder.join(&file))?;
        self.write(&file, &format!("version_labels = {{ {labels} }}\n{toml}"))
    }

    /// Writes a file of any content.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        Ok(fs::write(path, content)?)
    }
}

impl Synthetic {
    fn toml(&self) -> Result<String> {
        let Self { width, base, max_batch_size, max_queue_size, load_time, .. } = self;
        let mut text = format!("backend = \"synthetic\"\nmax_batch_size = {max_batch_size}\n");
        for (table, name) in [("input", "x"), ("output", "y")] {
            writeln!(text, "[[{table}]]\nname = \"{name}\"\ndatatype = \"FP32\"\nshape = [-1, {width}]")?;
        }
        writeln!(text, "[batching]\nmax_queue_size = {max_queue_size}")?;
        writeln!(text, "[synthetic]\nbase = \"{}us\"\nper_item = \"0s\"", base.as_micros())?;
        writeln!(text, "load_time = \"{}ms\"", load_time.as_millis())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_model_is_one_that_the_worker_reads() {
        let file = Path::new("model.toml");
        let config = weir_config::ModelConfig::parse(&Synthetic::default().toml().unwrap(), file).unwrap();
        assert_eq!((config.max_batch_size, config.inputs[0].shape.as_slice()), (64, &[-1, 4][..]));
    }
}
