//! The worker's own estimate of when one more request would finish.
//!
//! Pure arithmetic over a device's queues; the formulas and their letters are in docs/BATCHING.md. No margin is added:
//! margins belong to batch choice and admission.

use std::time::Duration;

/// What a queue says of one more request of one unit, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quote {
    /// From now until its answer is there.
    pub quote: Duration,
    /// The same, pessimistically: the batches ahead of it and its own will fill up.
    pub quote_admission: Duration,
    /// What it would be on an idle device.
    pub floor: Duration,
    /// Device time that one more unit takes at full batches.
    pub marginal: Duration,
    /// Rows per second at full batches.
    pub capacity: f64,
    /// Time until everything that is queued on the device now has run.
    pub device_ahead: Duration,
}
