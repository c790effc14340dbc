//! The end of the process: from the first signal to the moment when nothing is lost by exiting.
//!
//! The order matters. Readiness says no first, while everything is still served, so that what stands in front can
//! look away; then the listeners close; then every request that was begun is finished, up to a limit. A second
//! signal at any point ends the wait. Called once, by [`crate::server`]; knows no sockets.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::registry::Registry;

/// For how long no request may be open before the process counts as idle: a connection that was accepted last may
/// not have sent its request yet, and an answer that has left our hands may still be in those of an HTTP/2
/// connection's own task.
const IDLE: Duration = Duration::from_millis(100);
/// Pause between looks at the number of open requests, which is a plain atomic.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// SIGTERM and SIGINT, which mean the same: stop, but lose nothing.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes the two signals over from the system's default of ending the process at once.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every request was answered in full.
    Idle,
    /// `drain_timeout` passed with this many requests still open; they are cut.
    TimedOut(u64),
    /// A second signal came with this many requests still open; they are cut.
    Cut(u64),
}

/// Stops in order: not ready for `drain_delay`, then `close` closes the listeners, then up to `drain_timeout` for
/// open requests. Both times are those of the configuration in use when the stop begins.
pub async fn drain(registry: &Registry, close: impl Future<Output = ()>) -> Stopped {
    registry.begin_stop();
    let (delay, limit) = {
        let gateway = &registry.snapshot().config.gateway;
        (gateway.drain_delay, gateway.drain_timeout)
    };
    tracing::info!(
        ?delay,
        ?limit,
        open = registry.open_requests(),
        "stopping: not ready any more, still serving"
    );
    tokio::time::sleep(delay).await;
    close.await;
    tracing::info!(open = registry.open_requests(), "stopping: listeners are closed");
    match tokio::time::timeout(limit.max(IDLE), idle(registry)).await {
        Ok(()) => Stopped::Idle,
        Err(_) => Stopped::TimedOut(registry.open_requests()),
    }
}

/// Waits until no request has been open for [`IDLE`].
async fn idle(registry: &Registry) {
    let mut quiet = Duration::ZERO;
    while quiet < IDLE {
        tokio::time::sleep(LOOK_EVERY).await;
        quiet = if registry.open_requests() == 0 { quiet + LOOK_EVERY } else { Duration::ZERO };
    }
}

#[cfg(test)]
mod tests;
