//! Folders in the cache that are there as a whole or not at all.
//!
//! A folder is filled under another name and renamed when it is complete, under a lock that other set-ups wait for.
//! Whatever a killed set-up left is thrown away by the next one.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Stands between the name of a folder that is being filled and the id of the process that fills it.
const PARTIAL: &str = ".partial-";

/// The folder `name` of the cache; `fill` makes it where it is missing or not `complete`.
///
/// # Errors
/// `fill` failed or left the folder incomplete, or the cache cannot be written.
pub(super) fn provide(
    cache: &Path,
    name: &str,
    complete: impl Fn(&Path) -> bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache.join(name);
    if complete(&folder) {
        return Ok(folder);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot make the folder {}", cache.display()))?;
    // Released when the file is closed, so also when the process is killed.
    let _lock = lock(&cache.join("lock"))?;
    if complete(&folder) {
        return Ok(folder);
    }
    remove_remains(cache, name)?;
    // A name of its own: a download that outlived its killed set-up may still write to the old one.
    let partial = cache.join(format!("{name}{PARTIAL}{}", std::process::id()));
    fs::create_dir(&partial)?;
    fill(&partial)?;
    if !complete(&partial) {
        bail!("{} lacks files that it should have", partial.display());
    }
    fs::rename(&partial, &folder)?;
    Ok(folder)
}

/// Removes the incomplete folder `name` and what earlier set-ups left while filling it.
fn remove_remains(cache: &Path, name: &str) -> Result<()> {
    let partial = format!("{name}{PARTIAL}");
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let found = entry.file_name();
        if found == name || found.to_string_lossy().starts_with(&partial) {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn lock(file: &Path) -> Result<File> {
    let lock = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("another set-up is at work; waiting for it");
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test process alone, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weir-xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn has_file(folder: &Path) -> bool {
        folder.join("file").exists()
    }

    fn write_file(folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join("file"), "new")?)
    }

    #[test]
    fn a_complete_folder_is_left_alone() {
        let cache = Scratch::new("complete");
        let first = provide(&cache.0, "thing", has_file, write_file).unwrap();
        let second = provide(&cache.0, "thing", has_file, |_| bail!("filled twice")).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn what_a_killed_set_up_left_is_replaced() {
        let cache = Scratch::new("killed");
        for remains in ["thing", "thing.partial-1"] {
            fs::create_dir_all(cache.0.join(remains)).unwrap();
            fs::write(cache.0.join(remains).join("half"), "old").unwrap();
        }
        let folder = provide(&cache.0, "thing", has_file, write_file).unwrap();
        assert!(has_file(&folder) && !folder.join("half").exists());
        assert!(!cache.0.join("thing.partial-1").exists());
    }

    #[test]
    fn a_failed_or_incomplete_fill_leaves_no_folder() {
        let cache = Scratch::new("failed");
        assert!(provide(&cache.0, "thing", has_file, |_| bail!("no network")).is_err());
        assert!(provide(&cache.0, "thing", has_file, |_| Ok(())).is_err());
        assert!(!cache.0.join("thing").exists());
    }
}
