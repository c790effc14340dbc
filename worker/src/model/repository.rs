//! The model repository on disk: `<repository>/<model>/model.toml` and `<model>/<version>/model.pt`.
//!
//! Reads folders and model.toml, never a model itself. What does not belong is told and left alone; what is broken
//! comes back as broken, so that the rest can serve. Called at start, by `control` and by `weir-worker check`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use weir_config::{ModelConfig, model::BackendConfig};
use weir_protocol::{Bytes, ModelName, Version};

/// File with a version's TorchScript.
const MODEL_FILE: &str = "model.pt";

/// A model's folder.
#[derive(Debug, Clone)]
pub struct FoundModel {
    /// The folder's name.
    pub name: ModelName,
    /// model.toml, or everything that is wrong with it.
    pub config: Result<Arc<ModelConfig>, String>,
    /// Version folders, ascending.
    pub versions: Vec<FoundVersion>,
}

/// A version's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVersion {
    /// The folder's name.
    pub version: Version,
    /// Its model.pt, which may be missing.
    pub file: PathBuf,
    /// Size of that file; 0 when it is missing.
    pub size: Bytes,
}

impl FoundModel {
    /// Whether there is a folder of that version.
    #[must_use]
    pub fn has(&self, version: Version) -> bool {
        self.versions.iter().any(|found| found.version == version)
    }

    /// Why a version cannot be loaded at all; `None` when it is worth trying.
    #[must_use]
    pub fn problem(&self, version: &FoundVersion) -> Option<String> {
        let needs_file = match &self.config {
            Err(problems) => return Some(problems.clone()),
            Ok(config) => matches!(config.backend, BackendConfig::Torch),
        };
        let (folder, missing) = (version.version, needs_file && !version.file.is_file());
        missing.then(|| format!("{folder}/{MODEL_FILE} is missing"))
    }
}

/// Reads the repository. Models ascend by name.
///
/// # Errors
/// The repository itself cannot be listed.
pub fn scan(repository: &Path) -> io::Result<Vec<FoundModel>> {
    let mut models: Vec<_> = folders(repository)?.iter().filter_map(|folder| model(folder)).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// Looks at the folder of one model; `None` when there is none, or nothing of a model in it.
#[must_use]
pub fn find(repository: &Path, name: &ModelName) -> Option<FoundModel> {
    let folder = repository.join(name.as_str());
    if folder.is_dir() { model(&folder) } else { None }
}

fn model(folder: &Path) -> Option<FoundModel> {
    let file = folder.join("model.toml");
    let versions = match folders(folder) {
        Ok(folders) => folders.iter().filter_map(|folder| version(folder)).collect::<Vec<_>>(),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "cannot list a folder of the repository");
            Vec::new()
        }
    };
    if versions.is_empty() && !file.exists() {
        tracing::warn!(folder = %folder.display(), "not a model: neither model.toml nor a version folder");
        return None;
    }
    let name = match name_of(folder).parse::<ModelName>() {
        Ok(name) => name,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "not a model: its name cannot be used");
            return None;
        }
    };
    if versions.is_empty() {
        tracing::warn!(model = %name, "a model without a version folder: make NAME/1/{MODEL_FILE}");
    }
    let config = ModelConfig::load(&file).map(Arc::new).map_err(|problems| problems.to_string());
    let mut versions = versions;
    versions.sort_by_key(|found| found.version);
    Some(FoundModel { name, config, versions })
}

fn version(folder: &Path) -> Option<FoundVersion> {
    let Ok(version) = name_of(folder).parse::<Version>() else {
        tracing::warn!(folder = %folder.display(), "not a version: its name is not a positive integer");
        return None;
    };
    let file = folder.join(MODEL_FILE);
    let size = Bytes(fs::metadata(&file).map_or(0, |meta| meta.len()));
    Some(FoundVersion { version, file, size })
}

/// Folders inside a folder, links to folders included, hidden ones left out.
fn folders(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent)?.filter_map(Result::ok).map(|entry| entry.path());
    Ok(entries.filter(|path| path.is_dir() && !name_of(path).starts_with('.')).collect())
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn models_and_versions_are_found_in_order_and_strangers_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "zebra/10/model.pt",
            "zebra/9/model.pt",
            "zebra/v1/model.pt",
            "zebra/labels.txt",
            "ant/1/weights.bin",
            "notes/readme.md",
            ".git/1/model.pt",
            "bad name/1/model.pt",
            "file",
        ] {
            touch(root.path(), path);
        }
        let found = scan(root.path()).unwrap();
        let names: Vec<_> = found.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["ant", "zebra"]);
        let versions: Vec<_> = found[1].versions.iter().map(|v| v.version.number()).collect();
        assert_eq!(versions, [9, 10]);
        assert_eq!((found[0].versions[0].size, found[1].versions[0].size), (Bytes(0), Bytes(1)));
        assert!(found[0].config.is_err(), "a model without model.toml is broken, not absent");
    }

    #[test]
    fn a_repository_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(scan(&root.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
