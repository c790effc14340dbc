//! The fleet as one server: what clients and operators see of all workers together.
//!
//! Statistics are asked of the workers and summed ([`Fleet::statistics`]); the repository index is what the gateway
//! knows anyway ([`index`]); loading and unloading go out to every Weir worker ([`Fleet::control`]). Runs its calls
//! on the runtime for everything beside requests, so that a wide fleet holds up nobody's inference. Called by the
//! proxy and the admin listener; knows neither.

mod control;
mod flight;
mod index;
mod statistics;

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};
use weir_protocol::{Bytes, ModelName, OipError, Reason, Version, grpc::ModelStatisticsResponse};
use weir_routing::EndpointSpec;

pub use self::{
    control::{Action, Controlled, Said},
    index::{IndexRequest, Reader, index},
};
use self::{flight::Flights, statistics::Gathering};
use crate::{
    outbound::{Bounds, Call, CallError, Outbound, Reply},
    registry::{Registry, Snapshot},
    task::Tasks,
    telemetry::{FleetCall, FleetOutcome},
};

/// Workers that are asked at the same time: enough to hide a slow one, few enough not to be a burst of connections.
const AT_ONCE: usize = 64;
/// Idle connections kept to each worker.
const IDLE_CONNECTIONS: usize = 1;
/// Largest answer of one worker.
const MAX_ANSWER_BYTES: Bytes = Bytes::mib(16);
/// For all workers together; who has not answered then is left out.
const GATHERING_TIME: Duration = Duration::from_secs(5);

/// What statistics are asked for: one model, or one version of it. Both are names that the directory knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The model.
    pub model: ModelName,
    /// The version; absent = all of them.
    pub version: Option<Version>,
}

/// Statistics of the fleet, or why there are none; shared by all who asked at the same time.
type Statistics = Result<Arc<ModelStatisticsResponse>, OipError>;

/// Speaks to all workers on behalf of one caller.
pub struct Fleet {
    registry: Arc<Registry>,
    outbound: Outbound,
    tasks: Tasks,
    runtime: Handle,
    flights: Flights<Option<Subject>, Statistics>,
    /// Calls for statistics at a time, whoever asks and about whatever: clients may ask about many models at once.
    seats: Arc<Semaphore>,
}

impl Fleet {
    /// The fleet of `registry`. Calls are made by `tasks` on `runtime`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, tasks: Tasks, runtime: Handle) -> Self {
        let outbound = Outbound::new(IDLE_CONNECTIONS);
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        Self { registry, outbound, tasks, runtime, flights: Flights::default(), seats }
    }

    /// The sum of what every healthy worker says of a subject, or of all models. A worker that does not answer is
    /// left out and counted. However many callers ask the same, the workers are asked once at a time; the answer is
    /// never older than the question.
    ///
    /// # Errors
    /// About a subject only: `unsupported` when none of its workers keeps statistics, `not-ready` when none of them
    /// answered.
    pub async fn statistics(&self, subject: Option<Subject>) -> Statistics {
        self.flights.join(subject.clone(), self.gather(subject)).await
    }

    async fn gather(&self, subject: Option<Subject>) -> Statistics {
        let (calls, seats) = (self.worker_calls(), Arc::clone(&self.seats));
        let gathering = Gathering::new(calls, seats, self.registry.snapshot_full(), subject);
        let gathered = self.find_out("fleet statistics", async move { gathering.run().await });
        gathered.await.unwrap_or_else(|| Err(stopping()))
    }

    /// Runs `work` on the other runtime; it is given up when the caller is. `None` when the process is ending.
    async fn find_out<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (mut reply, answer) = oneshot::channel();
        let while_asked = async move {
            tokio::select! {
                () = reply.closed() => {}
                done = work => drop(reply.send(done)),
            }
        };
        self.start(name, while_asked);
        answer.await.ok()
    }

    /// Runs `work` on the other runtime, to its end even if the caller leaves. `None` when the process is ending.
    async fn carry_out<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        // Nobody may be left to hear it.
        self.start(name, async move { _ = reply.send(work.await) });
        answer.await.ok()
    }

    fn start(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_signal();
        let until_stopped = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        };
        self.tasks.spawn_on(name, until_stopped, &self.runtime);
    }

    fn worker_calls(&self) -> WorkerCalls {
        WorkerCalls { registry: Arc::clone(&self.registry), outbound: self.outbound.clone() }
    }
}

fn stopping() -> OipError {
    OipError::new(Reason::Draining, "the gateway is stopping")
}

/// Calls to workers with the token of the configuration, each counted.
struct WorkerCalls {
    registry: Arc<Registry>,
    outbound: Outbound,
}

impl WorkerCalls {
    /// Calls one worker. Whether its status is the one hoped for is for the caller to say, and to count.
    async fn call(
        &self,
        snapshot: &Snapshot,
        to: &EndpointSpec,
        call: Call<'_>,
        time: Duration,
    ) -> Result<Reply, CallError> {
        let token = snapshot.config.gateway.worker_token.as_ref();
        self.outbound.call(to, call, token, Bounds { time, bytes: MAX_ANSWER_BYTES }).await
    }

    fn count(&self, call: FleetCall, outcome: FleetOutcome) {
        self.registry.telemetry().record_fleet_call(call, outcome);
    }
}

#[cfg(test)]
mod tests;
