//! What waits in a queue and what comes back: a request's rows, and the channel that its answer goes through.
//!
//! Made by `infer` through its [`super::Queue`], answered exactly once by a lane. A reply that nobody awaits any more
//! takes its ticket out of the queue.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::oneshot;
use weir_batching::{Cancel, Cause, Dropped};

use super::Served;
use crate::model::length::Length;

/// Rows that run in one batch: a request, or a part of one that is larger than a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How many; 1 in a model without a batch dimension.
    pub rows: u32,
    /// Raw rows, one tensor per input, in the model's order. Empty for a mask that the request did not bring: it is made
    /// with the batch.
    pub inputs: Vec<Bytes>,
    /// Their shapes, the batch dimension included, not padded.
    pub shapes: Vec<Vec<i64>>,
    /// How long the request is, in a model that pads.
    pub length: Option<Length>,
}

/// A request in a queue, or a part of one.
#[derive(Debug)]
pub struct Job {
    /// What runs it.
    pub(super) served: Arc<Served>,
    /// What is to run.
    pub part: Part,
    /// When it was made, right before its admission, on the lanes' clock.
    pub arrived: Duration,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, JobError>>,
}

impl Job {
    /// Answers the request. Its inputs go first: who has the answer finds their memory given back.
    pub(super) fn answer(self, result: Result<Done, JobError>) {
        drop(self.part);
        // Fails when nobody waits any more.
        let _ = self.reply.send(result);
    }
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A request that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its rows of every output, in the model's order: shape and raw elements.
    pub outputs: Vec<(Vec<i64>, Bytes)>,
    /// Time in the queue.
    pub waited: Duration,
    /// Time of the forward pass that it was part of.
    pub forward: Duration,
}

/// A request that was admitted and has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Its deadline passed while it waited: it was not started.
    #[error("the deadline passed in the queue")]
    Expired,
    /// Its deadline could not be met any more, so it was not started.
    #[error("the deadline could not be met any more")]
    Hopeless,
    /// It ran in a batch that failed, and its deadline passed before it could run again.
    #[error("the deadline passed before the model was done")]
    Late,
    /// Its forward pass failed; the text is for the client.
    #[error("{0}")]
    Failed(String),
}

/// Counts a request that left the queue without running at `now`, and tells it so.
pub(super) fn answer_dropped(dropped: Dropped<Job>, now: Duration) {
    let Dropped { cause, ticket } = dropped;
    // Who waits gives up at the deadline by itself: seen from here as if the client had left.
    let late = ticket.deadline.is_some_and(|deadline| deadline <= now);
    let cause = if late { Cause::Expired } else { cause };
    let job = ticket.payload;
    job.served.metrics.record_dropped(cause);
    match cause {
        Cause::Expired => job.answer(Err(JobError::Expired)),
        Cause::Hopeless => job.answer(Err(JobError::Hopeless)),
        // Nobody is there to be told.
        Cause::Cancelled => drop(job),
    }
}
