//! Where things are: the checkout, cargo's target folder, the user's cache folder.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folders that commands work in, all absolute.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// Finds the folders of the checkout that xtask was built from.
    ///
    /// # Errors
    /// xtask was moved away from its checkout, or there is neither `WEIR_CACHE` nor a home folder.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` says where the sources are now; the value at build time is for a binary started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask lies in no workspace")?.canonicalize()?;
        // <target>/debug/xtask, wherever cargo was told to put its target folder.
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2).context("xtask lies in no target folder")?.to_owned();
        Ok(Self { root, target, cache: cache_folder()? })
    }

    /// The checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts the binaries of a profile: `debug`, `release`, `dist`.
    pub(crate) fn binaries(&self, profile: &str) -> PathBuf {
        self.target.join(profile)
    }

    /// Downloads that all checkouts of this user share.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }
}

/// `$WEIR_CACHE`, else `$XDG_CACHE_HOME/weir`, else `~/.cache/weir`.
fn cache_folder() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("WEIR_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("weir")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/weir")))
        .context("no place for downloads: set WEIR_CACHE to a folder")?;
    Ok(std::path::absolute(folder)?)
}
