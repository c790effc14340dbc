//! cmake, which the build of zlib-ng (under pingora) calls: the machine's own, else one from the Python registry.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{cache, wheels};
use crate::{command::output_of, workspace::Workspace};

/// The one in xtask/requirements/cmake.txt.
const VERSION: &str = "4.4.4";
/// (major, minor) that the native builds ask for.
const OLDEST: (u32, u32) = (3, 12);
const PROGRAM: &str = "cmake/data/bin/cmake";

/// The path of a cmake that is new enough.
///
/// # Errors
/// A download failed.
pub(super) fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = on_path() {
        return Ok(found);
    }
    let folder = cache::provide(workspace.cache(), &format!("cmake-{VERSION}"), complete, |folder| {
        println!("setup: fetching cmake {VERSION}, 30 MB, as there is none on PATH");
        wheels::unpack(workspace, "cmake.txt", &["cmake/data/*"], folder)
    })?;
    Ok(folder.join(PROGRAM))
}

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).map(|folder| folder.join("cmake"));
    candidates.find(|program| program.is_file() && new_enough(program))
}

fn complete(folder: &Path) -> bool {
    new_enough(&folder.join(PROGRAM))
}

fn new_enough(program: &Path) -> bool {
    output_of(program, &["--version"]).as_deref().and_then(version).is_some_and(|found| found >= OLDEST)
}

/// (major, minor) from `cmake version 3.25.1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.strip_prefix("cmake version ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("cmake version 3.25.1\n\nCMake suite"), Some((3, 25)));
        assert!(version("cmake version 3.9.4").is_some_and(|old| old < OLDEST));
        assert_eq!(version("something else"), None);
    }
}
