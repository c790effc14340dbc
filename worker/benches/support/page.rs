//! The worker's `/metrics` page at one moment.

use anyhow::{Context, Result};

/// A page of metrics.
pub(crate) struct Page(pub(crate) String);

impl Page {
    /// The value of a series of a model: `forward_seconds_sum` for `weir_worker_forward_seconds_sum{model="..",..}`.
    pub(crate) fn value(&self, name: &str, model: &str) -> Result<f64> {
        let start = format!("weir_worker_{name}{{model=\"{model}\"");
        let line = self.0.lines().find(|line| line.starts_with(&start)).context(start)?;
        Ok(line.rsplit(' ').next().context("a value")?.parse()?)
    }
}
