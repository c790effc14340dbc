//! Carries a plan out: sends each request when it is due, whatever became of those before it.
//!
//! A thread of its own waits for the due times (the runtime's timer is only good to a millisecond) and hands each
//! to the dispatcher, which starts one task a request. As many requests as there are connections may be in flight;
//! one that is due beyond that is counted as not sent, never sent later.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_protocol::headers::CLIENT_TIMEOUT_MS;

use crate::{
    Payload, Report, Schedule, Target,
    answer::judge,
    connection::{Connections, Failure},
    tally::{Outcome, Tally},
};

/// Due times that may wait for the dispatcher. When it is full the pacer waits; due times stay as they are.
const DUE_AHEAD: usize = 1024;

/// What to send, where and when.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// The requests.
    pub payload: Payload,
    /// When they are due.
    pub schedule: Schedule,
    /// Most connections, which is also the most requests in flight.
    pub connections: usize,
    /// From the due time to the end of the response; a request without one by then has failed.
    pub timeout: Duration,
    /// From the due time until a result stops being useful. Every request says how much of it is left (`x-timeout-ms`,
    /// rounded down), and the report tells how many results came in time. `None`: a result is always useful.
    pub deadline: Option<Duration>,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The pacer's thread could not be made.
    #[error("cannot start the pacer thread")]
    Pacer(#[from] io::Error),
    /// The histograms could not be made.
    #[error("cannot make the histograms")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Requests that were due so far.
    pub due: u64,
    /// Requests whose outcome is known.
    pub finished: u64,
    /// Requests without a well-formed result so far.
    pub lost: u64,
    /// Requests in flight.
    pub in_flight: usize,
}

/// A run under way. Dropping it stops the sending.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    due: watch::Receiver<u64>,
    pacer: thread::JoinHandle<()>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    begin: Instant,
    connections: Connections,
    permits: Arc<Semaphore>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    index: u64,
    at: Instant,
}

impl Run {
    /// Starts a run on the current runtime.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            connections: Connections::to(plan.target.clone()),
            permits: Arc::new(Semaphore::new(plan.connections)),
            tally: Mutex::new(Tally::new(plan.deadline)?),
            begin: Instant::now(),
            plan,
        });
        let (stop, tasks, begin) = (CancellationToken::new(), TaskTracker::new(), shared.begin);
        let (to_dispatcher, from_pacer) = mpsc::channel(DUE_AHEAD);
        let (offsets, token) = (shared.plan.schedule.offsets(), stop.clone());
        let pacer = thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || pace(offsets, begin, &to_dispatcher, &token))?;
        let (dispatched, due) = watch::channel(0);
        tasks.spawn(dispatch(shared.clone(), from_pacer, dispatched, tasks.clone()));
        Ok(Self { shared, due, pacer, stop, tasks })
    }

    /// How far the run is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let in_flight = self.shared.plan.connections - self.shared.permits.available_permits();
        let tally = self.shared.tally();
        Progress { due: *self.due.borrow(), finished: tally.finished, lost: tally.lost(), in_flight }
    }

    /// Waits until `count` requests were due, or the last one if there are fewer.
    pub async fn due(&self, count: u64) {
        // An error means that the dispatcher has ended: there will be no more.
        let _ = self.due.clone().wait_for(|due| *due >= count).await;
    }

    /// Sends nothing more. What is in flight goes on.
    pub fn stop(&self) {
        self.stop.cancel();
        self.pacer.thread().unpark();
    }

    /// Waits until every request has its outcome, and sums up.
    pub async fn finish(self) -> Report {
        self.tasks.close();
        self.tasks.wait().await;
        let due = *self.due.borrow();
        Report::new(&self.shared.plan, due, &self.shared.tally())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts stay usable whatever happened to another holder.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, latency: Duration, outcome: Outcome) {
        self.tally().finish(self.begin.elapsed(), latency, outcome);
    }

    async fn send(&self, due: Due) -> Outcome {
        self.tally().sent(due.at.elapsed());
        match tokio::time::timeout_at(due.at + self.plan.timeout, self.exchange(due)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed(Failure::TimedOut),
        }
    }

    async fn exchange(&self, Due { index, at }: Due) -> Outcome {
        let Ok(mut request) = self.plan.payload.request(index, &self.plan.target.authority) else {
            return Outcome::Failed(Failure::Protocol);
        };
        if let Some(deadline) = self.plan.deadline {
            let left = deadline.saturating_sub(at.elapsed()).as_millis().max(1);
            let left = HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX));
            request.headers_mut().insert(HeaderName::from_static(CLIENT_TIMEOUT_MS), left);
        }
        match self.connections.exchange(request).await {
            Ok(response) => {
                let labels = self.plan.payload.labels(index);
                Outcome::Answered(judge(response.status(), response.headers(), response.body(), labels))
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

fn pace(
    offsets: impl Iterator<Item = Duration>,
    begin: Instant,
    dispatcher: &mpsc::Sender<Due>,
    stop: &CancellationToken,
) {
    for (index, offset) in (0..).zip(offsets) {
        let at = begin + offset;
        loop {
            if stop.is_cancelled() {
                return;
            }
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        if dispatcher.blocking_send(Due { index, at }).is_err() {
            return;
        }
    }
}

async fn dispatch(
    shared: Arc<Shared>,
    mut pacer: mpsc::Receiver<Due>,
    dispatched: watch::Sender<u64>,
    tasks: TaskTracker,
) {
    while let Some(due) = pacer.recv().await {
        match shared.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                tasks.spawn(request(shared.clone(), due, permit));
            }
            Err(_) => shared.finish(Duration::ZERO, Outcome::NotSent),
        }
        dispatched.send_replace(due.index + 1);
    }
}

async fn request(shared: Arc<Shared>, due: Due, permit: OwnedSemaphorePermit) {
    let outcome = shared.send(due).await;
    shared.finish(due.at.elapsed(), outcome);
    drop(permit);
}

#[cfg(test)]
mod tests;
