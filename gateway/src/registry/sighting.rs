//! What was last seen of a worker, kept for people and for the probe loop; routing never reads it.
//!
//! Written by the registry's writer. Read by `/v1/workers`, readiness, and the probe loop, which waits here to be
//! woken early.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use weir_protocol::LoadReport;

use super::ProbeFailure;

/// The last report and the last failure of one worker at one address.
#[derive(Debug, Default)]
pub struct Sighting {
    report: ArcSwapOption<LoadReport>,
    failure: ArcSwapOption<ProbeFailure>,
    wake: Notify,
}

impl Sighting {
    /// The last report, however old.
    #[must_use]
    pub fn report(&self) -> Option<Arc<LoadReport>> {
        self.report.load_full()
    }

    /// Why the latest probe failed; nothing after a good one.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<ProbeFailure>> {
        self.failure.load_full()
    }

    /// Whether the worker has reported or failed a probe: before that, nothing can be said about its models.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.report.load().is_some() || self.failure.load().is_some()
    }

    /// Waits until somebody wants the worker probed at once. A wake-up that came before the call counts.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Has the worker probed at once; many calls before the probe are one.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn reported(&self, report: Arc<LoadReport>) {
        self.report.store(Some(report));
        self.failure.store(None);
    }

    pub(super) fn failed(&self, failure: ProbeFailure) {
        self.failure.store(Some(Arc::new(failure)));
    }
}
