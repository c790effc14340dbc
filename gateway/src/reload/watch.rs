//! Tells when a file may have changed, by whatever way editors and platforms replace files.
//!
//! The folder is watched, not the file: editors rename a new file over the old one, and Kubernetes swaps a
//! symbolic link beside it; a watch on the file itself would keep looking at the old one. It may tell too often
//! (another file of the folder changed), so the caller compares contents. A file that somebody is writing is waited
//! for, within bounds: half of it may well be a valid one, with half of the workers.

use std::{path::Path, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{sync::watch, time::timeout};

/// A file is read this long after its folder was last seen changing: editors move the old file away, then write.
const QUIET: Duration = Duration::from_millis(10);
/// And at the latest this long after it was asked for, so that neither a busy folder nor a writer that never closes
/// can put it off: a change is in use within 100 ms.
const AT_MOST: Duration = Duration::from_millis(80);

/// Watches the folder of one file.
pub(super) struct Watch {
    /// Changes with each event. It says what the last one meant for the folder's files.
    folder: watch::Receiver<Files>,
    /// Keeps `folder` open even where nothing tells it anything.
    _events: watch::Sender<Files>,
    /// Ends the watch when dropped; absent when the system refused, then nothing is ever told.
    _watcher: Option<RecommendedWatcher>,
}

/// What an event says of the file that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// Whoever wrote it has closed it, or it came or went in one step.
    Whole,
    /// Somebody has it open and has begun to write.
    BeingWritten,
}

impl Watch {
    pub(super) fn new(file: &Path) -> Self {
        let events = watch::Sender::new(Files::Whole);
        let watcher = watcher(file, events.clone())
            .inspect_err(|error| tracing::warn!(%error, "the folder of the configuration cannot be watched; it is looked at every second"))
            .ok();
        Self { folder: events.subscribe(), _events: events, _watcher: watcher }
    }

    /// A watch that is told by a test.
    #[cfg(test)]
    pub(super) fn told_by(events: &watch::Sender<Files>) -> Self {
        Self { folder: events.subscribe(), _events: events.clone(), _watcher: None }
    }

    /// What the latest event meant.
    #[cfg(test)]
    pub(super) fn files(&self) -> Files {
        *self.folder.borrow()
    }

    /// Waits until something happens in the folder. What happened before the call counts.
    pub(super) async fn changed(&mut self) {
        // It cannot end: this very watch keeps it open.
        _ = self.folder.changed().await;
    }

    /// Waits until the writer at work has closed its file and the folder has been quiet for a moment, 80 ms at most.
    pub(super) async fn whole(&mut self) {
        let whole = async {
            loop {
                _ = self.folder.wait_for(|files| *files == Files::Whole).await;
                if timeout(QUIET, self.folder.changed()).await.is_err() {
                    return;
                }
            }
        };
        _ = timeout(AT_MOST, whole).await;
    }
}

fn watcher(file: &Path, events: watch::Sender<Files>) -> notify::Result<RecommendedWatcher> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error may stand for lost events: look at the file then, too.
        if let Some(files) = event.map_or(Some(Files::Whole), |event| meaning(event.kind)) {
            events.send_replace(files);
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reading is not a change: if it were, each look at the file would cause the next one. Nor is a new owner or time:
/// it would hide that somebody is writing.
pub(super) fn meaning(kind: EventKind) -> Option<Files> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Files::Whole),
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => None,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => Some(Files::Whole),
        EventKind::Create(_) | EventKind::Modify(_) => Some(Files::BeingWritten),
        EventKind::Any | EventKind::Other => Some(Files::Whole),
    }
}
