//! The seam between the simulated device and what decides on it: Weir's own code, or a rule of another server.

mod aimd;
mod fifo;
mod nexus;
mod weir;
mod window;

use std::time::Duration;

use serde::Deserialize;

use crate::simulate::batching::{request::Request, scenario::Scenario};

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// `weir_batching::Device`, as the worker runs it.
    Weir,
    /// Whatever waits, in order of arrival, up to a full batch: the dynamic batcher of most servers.
    GreedyFifo,
    /// The same, refusing what comes while four full batches wait.
    FifoQueueCap,
    /// Greedy, leaving out what has expired.
    DropExpired,
    /// Greedy, up to a limit that grows by one row after a batch whose time fits twice into the deadline, and shrinks
    /// by a tenth after a longer one (Clipper, NSDI 2017).
    Aimd,
    /// Windows of the size that fits twice into the deadline; requests before the first window that ends in time are
    /// dropped (Nexus, SOSP 2019).
    NexusEarlyDrop,
    /// The window in order of arrival with most rows per second whose first request ends in time.
    FifoWindow,
    /// The same, taking batches for a quarter longer than they are believed to be.
    FifoWindowMargin,
    /// The window in order of deadlines with most rows per second that ends in time.
    DeadlineWindow,
}

/// Decides who gets in and what a free lane runs. The world asks [`Self::next`] only while a lane is free.
pub(crate) trait Batcher {
    /// Takes a request in, or says no.
    fn offer(&mut self, now: Duration, request: Request) -> Offer;

    /// What a free lane does now. Requests that will never run are put into `dropped`.
    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn;

    /// A batch has ended after `took`; its requests are answered now.
    fn finish(&mut self, now: Duration, batch: &[Request], took: Duration);
}

/// What became of a request at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It waits now. With a quote: the time from now until its answer is there.
    Queued(Option<Duration>),
    /// It is refused at once.
    Refused,
}

/// What a free lane does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Runs these, all of one model and bucket; never empty.
    Run(Vec<Request>),
    /// Asks again at this time, or when something happens.
    WaitUntil(Duration),
    /// Asks again when something happens.
    Idle,
}

impl Rule {
    /// The name in scenarios and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::GreedyFifo => "greedy-fifo",
            Self::FifoQueueCap => "fifo-queue-cap",
            Self::DropExpired => "drop-expired",
            Self::Aimd => "aimd",
            Self::NexusEarlyDrop => "nexus-early-drop",
            Self::FifoWindow => "fifo-window",
            Self::FifoWindowMargin => "fifo-window-margin",
            Self::DeadlineWindow => "deadline-window",
        }
    }

    /// Ready to run a scenario. Rules other than Weir know one model: the first.
    pub(crate) fn batcher(self, scenario: &Scenario) -> Box<dyn Batcher> {
        let (cost, most) = scenario.only_model();
        match self {
            Self::Weir => Box::new(weir::Weir::new(scenario)),
            Self::GreedyFifo => Box::new(fifo::Greedy::new(most)),
            Self::FifoQueueCap => Box::new(fifo::Greedy::capped(most)),
            Self::DropExpired => Box::new(fifo::Greedy::without_expired(most)),
            Self::Aimd => Box::new(aimd::Aimd::new(most)),
            Self::NexusEarlyDrop => Box::new(nexus::EarlyDrop::new(cost, most, scenario.tightest_deadline())),
            Self::FifoWindow => Box::new(window::BestWindow::new(cost, most)),
            Self::FifoWindowMargin => Box::new(window::BestWindow::with_margin(cost, most)),
            Self::DeadlineWindow => Box::new(window::BestWindow::by_deadline(cost, most)),
        }
    }
}

#[cfg(test)]
mod tests;
