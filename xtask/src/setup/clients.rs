//! The stock Python clients that `tests/clients` uses, in a folder of the cache.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::cache;
use crate::{
    command::{command, output_of, run},
    workspace::Workspace,
};

/// Python 3 minor versions that xtask/requirements/clients.txt has checksums for.
const MINORS: std::ops::RangeInclusive<u32> = 10..=14;

/// Whether the clients can be used here.
pub(crate) enum Clients {
    /// For `PYTHONPATH`.
    Installed(PathBuf),
    /// Why this machine's Python cannot have them.
    Unsupported(String),
}

/// Installs the clients where they are missing.
///
/// # Errors
/// There is no python3, or a download failed.
pub(crate) fn install(workspace: &Workspace) -> Result<Clients> {
    let minor = output_of("python3", &["-c", "import sys; print(sys.version_info.minor)"])
        .and_then(|text| text.trim().parse::<u32>().ok())
        .context("python3 does not run")?;
    if !MINORS.contains(&minor) {
        let (first, last) = (MINORS.start(), MINORS.end());
        return Ok(Clients::Unsupported(format!(
            "the clients are pinned for Python 3.{first} to 3.{last}, this is 3.{minor}"
        )));
    }
    let requirements = workspace.root().join("xtask/requirements/clients.txt");
    let text = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let name = format!("clients-py3{minor}-{:016x}", hasher.finish());
    let folder = cache::provide(workspace.cache(), &name, Path::is_dir, |folder| {
        println!("setup: fetching the Python clients, 64 MB, once for this user");
        let mut install = command("python3", ["-m", "pip", "install", "--disable-pip-version-check"]);
        // It warns about the system's own packages, which a folder of one's own does not touch.
        install.env("PIP_ROOT_USER_ACTION", "ignore");
        install.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"]);
        run(install.arg(folder).arg("-r").arg(&requirements))
    })?;
    Ok(Clients::Installed(folder))
}
