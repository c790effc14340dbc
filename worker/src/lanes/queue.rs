//! The queue of one model version, as requests, reports and the version's life see it.
//!
//! A view: the queue itself is in the device that all versions share. Owned by the version's state; dropping the last
//! copy removes the queue.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weir_batching::{QueueId, Quote, Refused, Ticket};
use weir_protocol::{Refusal, load::Estimate};

use super::{Done, Job, JobError, Part, Served, Shared};
use crate::{model::ModelSpec, report};

/// The queue of one model version on the device's lanes.
pub struct Queue {
    shared: Arc<Shared>,
    id: QueueId,
    pub(super) served: Arc<Served>,
}

impl Queue {
    pub(super) fn new(shared: Arc<Shared>, id: QueueId, served: Served) -> Self {
        Self { shared, id, served: Arc::new(served) }
    }

    /// What the model takes and gives.
    #[must_use]
    pub fn spec(&self) -> &Arc<ModelSpec> {
        &self.served.spec
    }

    /// A request or a part of one for this queue, which arrives now, and where the answer goes.
    #[must_use]
    pub fn job(&self, part: Part, reply: oneshot::Sender<Result<Done, JobError>>) -> Job {
        Job { served: Arc::clone(&self.served), part, arrived: self.shared.clock.now(), reply }
    }

    /// Queues the parts of one request, all of them or none; answers after how long it will be done, as far as is
    /// known.
    ///
    /// # Errors
    /// As [`weir_batching::Device::admit`], and `NotReady` after [`Self::close`] and [`super::Lanes::close`]; the parts
    /// come back.
    pub fn admit(&self, parts: Vec<Ticket<Job>>) -> Result<Duration, Refused<Job>> {
        let (admitted, dropped) = self.shared.handover.admit(|| self.shared.clock.now(), self.id, parts);
        self.shared.answer(dropped);
        admitted
    }

    /// Rows waiting.
    #[must_use]
    pub fn queued_rows(&self) -> u64 {
        self.shared.handover.view(self.id).queued_rows
    }

    /// Why a request would certainly be refused now, whatever else is in it; `None` when it might get in. Cheap: to be
    /// asked before a request is read.
    #[must_use]
    pub fn refuses(&self, deadline: Option<Duration>) -> Option<Refusal> {
        let (refusal, dropped) = self.shared.handover.refuses(|| self.shared.clock.now(), self.id, deadline);
        self.shared.answer(dropped);
        refusal
    }

    /// What one more request would be told now; `None` once the queue is gone.
    #[must_use]
    pub fn quote(&self) -> Option<Quote> {
        self.shared.handover.quote(|| self.shared.clock.now(), self.id)
    }

    /// The same and what batches cost, for the load report.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let (quote, costs) = self.shared.handover.expected(|| self.shared.clock.now(), self.id)?;
        Some(report::estimate(&quote, &costs))
    }

    /// Refuses what comes from now on and waits until what is queued has run. Blocks.
    pub fn close(&self) {
        self.shared.handover.close(self.id);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Who awaits an answer holds the queue, so nobody awaits what is still in it.
        self.shared.handover.remove(self.id);
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("id", &self.id).field("spec", &self.served.spec).finish_non_exhaustive()
    }
}
