//! Who may run: the checks before an inference begins, and the record of how it ended.
//!
//! One place for every front, so that REST and gRPC refuse, count and drain alike. Knows no transport: fronts say
//! which model is asked for and whether a gateway asks.

use std::{sync::Arc, time::Duration};

use weir_protocol::{Refusal, rest::Target};

use super::{Rejection, Timings};
use crate::{
    clock::Clock,
    lanes::Queue,
    model::replica::{InFlight, Replica},
    server::Worker,
    shutdown::{Phase, RequestGuard},
};

/// An inference that the worker accepted. It is in flight until this is dropped, however it ends.
pub struct Admitted {
    /// The version that it runs on.
    pub replica: Arc<Replica>,
    /// Its queue.
    pub queue: Arc<Queue>,
    /// When it was accepted, on the worker's clock.
    began: Duration,
    /// Whether it is known how it ended.
    recorded: bool,
    clock: Clock,
    _in_flight: InFlight,
    _guard: RequestGuard,
}

/// Accepts an inference, or says why not. `from_gateway` decides what a name that leads nowhere means.
///
/// # Errors
/// The refusals `draining`, `not-ready`, and `queue-full` of the worker as a whole, counted as such; an unknown name.
pub fn admit(worker: &Worker, target: &Target, from_gateway: bool) -> Result<Admitted, Rejection> {
    try_admit(worker, target, from_gateway).inspect_err(|rejection| count(worker, rejection))
}

fn try_admit(worker: &Worker, target: &Target, from_gateway: bool) -> Result<Admitted, Rejection> {
    // Counted before the phase is looked at: so a drain that sees nothing in flight has refused everything since.
    let guard = worker.shutdown.begin(worker.config.limits.in_flight);
    if worker.shutdown.phase() != Phase::Running {
        return Err(Rejection::refused(Refusal::Draining));
    }
    let guard = guard.ok_or_else(|| Rejection::refused(Refusal::QueueFull))?;
    let resolved = worker.store.resolve(&target.model, target.version.as_ref());
    let (replica, queue) = resolved.map_err(|unresolved| Rejection::unresolved(&unresolved, from_gateway))?;
    let in_flight = replica.begin().ok_or_else(|| Rejection::refused(Refusal::NotReady))?;
    let (began, clock) = (worker.clock.now(), worker.clock);
    Ok(Admitted { replica, queue, began, recorded: false, clock, _in_flight: in_flight, _guard: guard })
}

/// The rejection of a request that a queue refused, with when it is worth another try.
pub(super) fn refused(
    queue: &Queue,
    refusal: Refusal,
    deadline: Option<Duration>,
    clock: Clock,
) -> Rejection {
    if refusal == Refusal::Deadline && deadline.is_some_and(|deadline| deadline <= clock.now()) {
        return Rejection::expired();
    }
    advised(queue, Rejection::refused(refusal))
}

/// A rejection by a queue, with when another try is worth while, if one is: by then a request that comes now would have
/// been done.
pub(super) fn advised(queue: &Queue, rejection: Rejection) -> Rejection {
    if rejection.retry_after().is_none() {
        return rejection;
    }
    rejection.after(queue.quote().map_or(Duration::ZERO, |quote| quote.quote))
}

impl Admitted {
    /// Refuses what has no chance in the queue whatever else it says, so that it need not be read. `deadline` is the one
    /// that its head names, on the worker's clock; `waited` as in [`super::Call`].
    ///
    /// # Errors
    /// The refusals `queue-full` and `deadline`, in the version's name.
    pub fn check_queue(&self, deadline: Option<Duration>, waited: Duration) -> Result<(), Rejection> {
        let deadline = self.queue.spec().terms.deadline((self.began, waited), deadline, None);
        let rejection = |refusal| refused(&self.queue, refusal, deadline, self.clock);
        self.queue.refuses(deadline).map_or(Ok(()), |refusal| Err(rejection(refusal)))
    }

    /// Notes in metrics and statistics how the inference ended. Once, when its answer is about to leave.
    pub fn record(&mut self, worker: &Worker, outcome: Result<&Timings, &Rejection>) {
        let (replica, unix_ms) = (&self.replica, worker.clock.unix_ms());
        self.recorded = true;
        match outcome {
            Ok(timings) => {
                replica.metrics.record_ok(timings.overhead());
                if timings.parts > 1 {
                    replica.metrics.record_split(timings.parts);
                }
                replica.metrics.record_quote(timings.quoted, timings.queue + timings.compute_infer);
                replica.statistics.record_ok(timings, unix_ms);
            }
            Err(rejection) => {
                let reason = rejection.error.reason;
                replica.statistics.record_failed(worker.clock.now().saturating_sub(self.began), unix_ms);
                worker.telemetry.record_error(Some((&replica.model, replica.version)), reason);
                count(worker, rejection);
            }
        }
    }

    /// What `weir-served` says: the model, the version and the worker that answered.
    #[must_use]
    pub fn served(&self, worker: &Worker) -> String {
        format!("{};{};{}", self.replica.model, self.replica.version, worker.config.worker.name)
    }
}

/// A client that leaves takes its request's future with it, so nobody is there to record the end.
impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.recorded {
            let waited = self.clock.now().saturating_sub(self.began);
            self.replica.metrics.record_left();
            self.replica.statistics.record_failed(waited, self.clock.unix_ms());
        }
    }
}

/// Counts a rejection that is a refusal.
pub fn count(worker: &Worker, rejection: &Rejection) {
    if let Some(refusal) = rejection.refusal {
        worker.telemetry.record_refusal(refusal);
    }
}

/// When an answer stops being useful, on the worker's clock: the smallest of what was said, from now.
#[must_use]
pub fn deadline(worker: &Worker, left: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let now = worker.clock.now();
    left.into_iter().flatten().min().map(|left| now.saturating_add(left))
}
