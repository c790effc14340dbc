//! Who may run: the checks before an inference begins, and the record of how it ended.
//!
//! One place for every front, so that REST and gRPC refuse, count and drain alike. Knows no transport: fronts say
//! which model is asked for and whether a gateway asks.

use std::{sync::Arc, time::Duration};

use weir_protocol::{Refusal, rest::Target};

use super::{Rejection, Timings};
use crate::{
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
    _in_flight: InFlight,
    _guard: RequestGuard,
}

/// Accepts an inference, or says why not. `from_gateway` decides what a name that leads nowhere means.
///
/// # Errors
/// The refusals `draining`, `queue-full` and `not-ready`, counted as such; an unknown name.
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
    if queue.is_full() {
        return Err(Rejection::refused(Refusal::QueueFull));
    }
    let in_flight = replica.begin().ok_or_else(|| Rejection::refused(Refusal::NotReady))?;
    let began = worker.clock.now();
    Ok(Admitted { replica, queue, began, _in_flight: in_flight, _guard: guard })
}

impl Admitted {
    /// Notes in metrics and statistics how the inference ended. Once, when its answer is about to leave.
    pub fn record(&self, worker: &Worker, outcome: Result<&Timings, &Rejection>) {
        let (replica, unix_ms) = (&self.replica, worker.clock.unix_ms());
        match outcome {
            Ok(timings) => {
                replica.metrics.record_ok(timings.overhead());
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
