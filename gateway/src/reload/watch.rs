//! Tells when a file may have changed, by whatever way editors and platforms replace files.
//!
//! The folder is watched, not the file: editors rename a new file over the old one, and Kubernetes swaps a
//! symbolic link beside it; a watch on the file itself would keep looking at the old one. It may tell too often
//! (another file of the folder changed), so the caller compares contents.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

/// A file is read this long after its folder was last seen changing: whoever writes in place is likely done.
const QUIET: Duration = Duration::from_millis(10);
/// And at the latest this long after the first change, so that a busy folder cannot put it off.
const AT_MOST: Duration = Duration::from_millis(50);

/// Watches the folder of one file.
pub(super) struct Watch {
    changes: Arc<Notify>,
    /// Ends the watch when dropped; absent when the system refused, then nothing is ever told.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    pub(super) fn new(file: &Path) -> Self {
        let changes = Arc::new(Notify::new());
        let watcher = watcher(file, Arc::clone(&changes))
            .inspect_err(|error| tracing::warn!(%error, "the folder of the configuration cannot be watched; it is looked at every second"))
            .ok();
        Self { changes, _watcher: watcher }
    }

    /// Waits until the folder has changed and then been quiet for a moment. Changes before the call count.
    pub(super) async fn changed(&mut self) {
        self.changes.notified().await;
        let quiet = async { while tokio::time::timeout(QUIET, self.changes.notified()).await.is_ok() {} };
        _ = tokio::time::timeout(AT_MOST, quiet).await;
    }
}

fn watcher(file: &Path, changes: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error may stand for lost events: look at the file then, too.
        if event.map_or(true, |event| may_change_a_file(event.kind)) {
            changes.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reading is not a change: without this, each look at the file would cause the next one.
pub(super) fn may_change_a_file(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
