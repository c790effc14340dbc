//! A simulated request.

use std::time::Duration;

use weir_batching::Cancel;

/// What a rule of batching sees of one request, and by which the tally recognises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Counts up over all streams, in the order of arrival.
    pub(crate) id: u64,
    /// Index of its stream in the scenario.
    pub(crate) stream: usize,
    /// Index of its model in the scenario.
    pub(crate) model: usize,
    /// Index of its bucket in the model: only requests of one bucket can share a batch.
    pub(crate) bucket: usize,
    /// Rows.
    pub(crate) rows: u32,
    /// What it costs, in units; a row costs one or more.
    pub(crate) units: u32,
    /// Priority class, 0 first.
    pub(crate) class: u8,
    /// When it came.
    pub(crate) arrived: Duration,
    /// When its answer stops being useful.
    pub(crate) deadline: Option<Duration>,
}

/// Simulated clients wait to the end.
impl Cancel for Request {
    fn cancelled(&self) -> bool {
        false
    }
}
