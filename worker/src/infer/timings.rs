//! Where the time of one inference went.

use std::time::Duration;

/// The parts of an inference's time, in Triton's words. Those from `compute_input` on add up to `total`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Rows of the request; at least 1 once it ran.
    pub rows: u32,
    /// Batches that it was spread over; 1 unless it had more rows than one may.
    pub parts: usize,
    /// Time in the queue and in the forward pass together, as it was foreseen when the request was let in.
    pub quoted: Duration,
    /// Reading the request: from its last byte until it was queued.
    pub compute_input: Duration,
    /// Waiting for a lane.
    pub queue: Duration,
    /// The forward pass that it was part of.
    pub compute_infer: Duration,
    /// From the forward pass until the answer was written.
    pub compute_output: Duration,
    /// From the request's last byte until the answer was written.
    pub total: Duration,
}

impl Timings {
    /// The worker's own share: queue and forward pass excluded.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        self.total.saturating_sub(self.queue).saturating_sub(self.compute_infer)
    }

    /// Adds the time that writing the answer took.
    pub(super) fn wrote(&mut self, took: Duration) {
        self.compute_output = self.compute_output.saturating_add(took);
        self.total = self.total.saturating_add(took);
    }
}
