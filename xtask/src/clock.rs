//! The one place that reads the time: deadlines of waits, durations for messages.

use std::{sync::mpsc, time::Duration};

use anyhow::{Result, bail};

/// How often a condition is looked at that gives no sign when it changes.
const POLL: Duration = Duration::from_millis(50);

/// Time since it was started.
#[expect(clippy::disallowed_types, reason = "the clock module")]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_types, reason = "the clock module")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits until `ready` answers true, looking every 50 ms.
///
/// # Errors
/// `limit` has passed, `stop` got a message, or `ready` failed.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    stop: &mpsc::Receiver<()>,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let watch = Stopwatch::start();
    while !ready()? {
        if watch.elapsed() > limit {
            bail!("waited {limit:?} in vain until {what}");
        }
        if stop.recv_timeout(POLL) != Err(mpsc::RecvTimeoutError::Timeout) {
            bail!("interrupted while waiting until {what}");
        }
    }
    Ok(())
}
