//! What the worker and the system say of it between two moments.

use std::time::Duration;

use anyhow::Result;
use weir_worker::clock::Clock;

use crate::{cpu, load::Load, models::Model, page::Page, worker::Served};

/// Looks at a running worker now and then.
pub(crate) struct Watch<'a> {
    pub(crate) served: &'a Served,
    pub(crate) clock: Clock,
}

impl Watch<'_> {
    /// What happens within a stretch of time under `load`.
    pub(crate) async fn window(&self, model: &Model, load: &Load, length: Duration) -> Result<Window> {
        let before = self.sample(model, load).await?;
        tokio::time::sleep(length).await;
        let after = self.sample(model, load).await?;
        Ok(Window { before, after })
    }

    async fn sample(&self, model: &Model, load: &Load) -> Result<Sample> {
        let page = Page(self.served.get("/metrics").await?);
        let value = |name| page.value(name, model.name);
        Ok(Sample {
            at: self.clock.now(),
            answered: load.answered(),
            batches: value("batch_rows_count")?,
            rows: value("batch_rows_sum")?,
            forward: value("forward_seconds_sum")?,
            busy: value("batch_seconds_sum")?,
            cpu: cpu::of_process(self.served.child.id())?,
            lane_cpu: cpu::of_lanes(self.served.child.id())?,
        })
    }
}

struct Sample {
    at: Duration,
    answered: u64,
    batches: f64,
    rows: f64,
    forward: f64,
    busy: f64,
    cpu: f64,
    lane_cpu: f64,
}

/// What happened between two samples.
pub(crate) struct Window {
    before: Sample,
    after: Sample,
}

impl Window {
    fn delta(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        of(&self.after) - of(&self.before)
    }

    fn seconds(&self) -> f64 {
        self.delta(|sample| sample.at.as_secs_f64())
    }

    fn requests(&self) -> f64 {
        f64::from(u32::try_from(self.after.answered - self.before.answered).unwrap_or(u32::MAX))
    }

    /// Rows answered per second; a request has one row.
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.requests() / self.seconds()
    }

    /// Rows answered per second of CPU time of the lane's thread.
    pub(crate) fn rows_per_lane_cpu_second(&self) -> f64 {
        self.requests() / self.delta(|s| s.lane_cpu)
    }

    /// Mean rows of a batch.
    pub(crate) fn batch_rows(&self) -> f64 {
        self.delta(|s| s.rows) / self.delta(|s| s.batches)
    }

    /// Mean time of a forward pass, tensors in and out included.
    pub(crate) fn forward_seconds(&self) -> f64 {
        self.delta(|s| s.forward) / self.delta(|s| s.batches)
    }

    /// Share of the time that the lane had a batch in hand.
    pub(crate) fn lane_busy_ratio(&self) -> f64 {
        self.delta(|s| s.busy) / self.seconds()
    }

    /// CPU seconds per 100,000 requests that were not the forward pass. Of the lane thread's own CPU time the forward
    /// has the share that it has of the lane's busy time: wall times alone would count waiting for a core.
    pub(crate) fn cpu_outside_forward(&self) -> f64 {
        let forward = self.delta(|s| s.lane_cpu) * self.delta(|s| s.forward) / self.delta(|s| s.busy);
        (self.delta(|s| s.cpu) - forward) / self.requests() * 1e5
    }
}
