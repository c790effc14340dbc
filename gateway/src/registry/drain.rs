//! Draining a worker: from the operator's call to the moment when no request can reach it any more.
//!
//! The switch is turned by the writer and seen by the very next pick. What was picked before is counted as
//! *dispatching* until it is handed to a connection; a drain has taken effect once that count was 0. Called by the
//! admin listener.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weir_protocol::WorkerId;
use weir_routing::Endpoint;

use super::{Event, Registry, RegistryError};

/// Pause between looks at a worker's counts. They are plain atomics because routing has no runtime to notify.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What to wait for after the switch is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainWait {
    /// Longest wait until every request picked before is handed over.
    pub dispatching: Duration,
    /// Longest wait, after that, until the worker has answered everything; zero = do not wait.
    pub in_flight: Duration,
}

/// What was left when the waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests picked before the drain that are still to be handed over; 0 = no request reaches the worker any
    /// more.
    pub dispatching: u64,
    /// Requests that the worker still answers.
    pub in_flight: u64,
}

impl Registry {
    /// Takes a worker out of service and waits as `wait` says. With [`Drained::dispatching`] at 0, no request
    /// reaches it until [`Self::undrain`]. A drain outlives reloads as long as the worker's name and address stay.
    ///
    /// # Errors
    /// [`RegistryError::UnknownWorker`], [`RegistryError::Stopped`]
    pub async fn drain(&self, worker: &WorkerId, wait: DrainWait) -> Result<Drained, RegistryError> {
        let endpoint = self.turn(worker, true).await?;
        until(wait.dispatching, || endpoint.live.dispatching() == 0).await;
        let dispatching = endpoint.live.dispatching();
        if dispatching == 0 {
            until(wait.in_flight, || endpoint.live.in_flight() == 0).await;
        }
        Ok(Drained { dispatching, in_flight: endpoint.live.in_flight() })
    }

    /// Brings a worker back into service.
    ///
    /// # Errors
    /// [`RegistryError::UnknownWorker`], [`RegistryError::Stopped`]
    pub async fn undrain(&self, worker: &WorkerId) -> Result<(), RegistryError> {
        self.turn(worker, false).await.map(drop)
    }

    async fn turn(&self, worker: &WorkerId, draining: bool) -> Result<Arc<Endpoint>, RegistryError> {
        let (reply, turned) = oneshot::channel();
        self.send(Event::Drain { worker: worker.clone(), draining, reply }).await?;
        let endpoint = turned.await.map_err(|_| RegistryError::Stopped)?;
        endpoint.ok_or_else(|| RegistryError::UnknownWorker(worker.clone()))
    }
}

/// Waits until `reached` holds, at most `limit`.
async fn until(limit: Duration, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // Running out of time is an answer too: the caller reports what is left.
    _ = tokio::time::timeout(limit, waiting).await;
}
