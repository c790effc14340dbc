//! The one way to start a task: named, tracked, stopped together, and never lost in silence.
//!
//! Everything the gateway does beside serving requests (the registry's writer, probes, reload, the admin listener)
//! runs in a task from here. A task that panics is logged and makes the process report itself as not live, so
//! that whatever supervises it starts it again.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks. Clones are the same group.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: Arc<OnceLock<&'static str>>,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The signal on which every task of the group ends.
    #[must_use]
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task on the current runtime.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(name, task, &Handle::current());
    }

    /// Starts a task on the given runtime.
    pub fn spawn_on(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        let broken = Arc::clone(&self.broken);
        let watched = async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked: the process should be restarted");
                // Only the first one is kept: it is the one to look at.
                _ = broken.set(name);
            }
        };
        self.tracker.spawn_on(watched, runtime);
    }

    /// The first task that panicked, if any.
    #[must_use]
    pub fn broken(&self) -> Option<&'static str> {
        self.broken.get().copied()
    }

    /// Tells every task to end and waits for them, at most `limit`. Returns whether all have ended.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named_and_the_others_go_on() {
        let tasks = Tasks::new();
        let stop = tasks.stop_signal();
        tasks.spawn("steady", async move { stop.cancelled().await });
        tasks.spawn("breaks", async { panic!("on purpose") });
        while tasks.broken().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks.broken(), Some("breaks"));
        assert!(tasks.finish(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_not_waited_for_beyond_the_limit() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        assert!(!tasks.finish(Duration::from_secs(5)).await);
    }
}
