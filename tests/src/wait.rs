//! Waiting for an event that only shows from outside a process: look again until it holds or time is up.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(10);
/// Generous, because it only decides how long a failing test takes: machines under load are slow.
const LIMIT: Duration = Duration::from_secs(30);

/// Looks until `look` succeeds, at most 30 seconds, and gives what it found.
///
/// # Errors
/// The last error of `look`, with `what` was waited for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        match timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = last.or_else(|| Some(anyhow::anyhow!("no answer"))),
        }
        if Instant::now() >= deadline {
            let error = last.unwrap_or_else(|| anyhow::anyhow!("never looked"));
            return Err(error).with_context(|| format!("waited {} s for: {what}", LIMIT.as_secs()));
        }
    }
}
