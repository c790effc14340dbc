//! Where things are: the workspace, the binaries under test, the sample model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Folder of the binaries under test; set by `cargo xtask test`.
const BIN_DIR: &str = "WEIR_BIN_DIR";

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The repository with the sample model `digits`.
#[must_use]
pub fn sample_repository() -> PathBuf {
    workspace_root().join("worker/models")
}

/// The path of a binary: in `WEIR_BIN_DIR`, else in the target folder of the running program.
///
/// # Errors
/// It is not there; the message says how to build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os(BIN_DIR) {
        Some(folder) => PathBuf::from(folder),
        None => beside_this_program()?,
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("no {name} in {}: run `cargo build -p {name}`, or `cargo xtask test`", folder.display());
    }
    Ok(path)
}

fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = program.parent().context("this program is in no folder")?;
    // Test programs are one level deeper, in `deps`.
    let deeper = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if deeper { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}
