//! `cargo xtask setup`: what a build needs and cargo cannot fetch.
//!
//! libtorch and, where the machine has none, cmake come from the Python registry, pinned by version and checksum,
//! into a cache folder that all checkouts share. The checkout gets two links, `.libtorch` and `.tools/bin/cmake`,
//! which `.cargo/config.toml` names. Every step looks first and does nothing when its result is there.

mod cache;
mod cmake;
mod envoy;
mod libtorch;
mod packages;
mod perf_analyzer;
mod tools;
mod wheels;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

pub(crate) use envoy::install as envoy;
pub(crate) use packages::{clients, mlserver};
pub(crate) use perf_analyzer::perf_analyzer;

use crate::workspace::Workspace;

/// Something that only some checks use, and not every machine can have.
pub(crate) enum Supply {
    /// Where it is.
    Ready(PathBuf),
    /// Why it cannot be had here.
    Missing(String),
}

/// Makes the checkout ready to build.
///
/// # Errors
/// Tools are missing (all named at once), the machine is of an unsupported kind, or a download failed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    tools::check()?;
    let libtorch = libtorch::install(workspace)?;
    link(&libtorch, &workspace.root().join(".libtorch"))?;
    let cmake = cmake::find_or_install(workspace)?;
    link(&cmake, &workspace.root().join(".tools/bin/cmake"))?;
    println!("setup: libtorch {} and cmake are in place", libtorch::VERSION);
    Ok(())
}

/// Makes `link` point to `target`, in one step for whoever reads it meanwhile.
fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if link.symlink_metadata().is_ok_and(|found| !found.is_symlink()) {
        bail!("{} is not a link made by set-up: move it away", link.display());
    }
    let fresh = link.with_extension("new");
    fs::create_dir_all(link.parent().unwrap_or(link))?;
    if fresh.symlink_metadata().is_ok() {
        fs::remove_file(&fresh)?;
    }
    symlink(target, &fresh)
        .and_then(|()| fs::rename(&fresh, link))
        .with_context(|| format!("cannot make the link {}", link.display()))
}
