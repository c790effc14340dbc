//! What a histogram of the worker was given between two pages of metrics.

use anyhow::{Context, Result};

use crate::page::Page;

/// The values that a histogram was given between two pages.
pub(crate) struct Distribution {
    /// Upper bound, and how many values were at most that.
    buckets: Vec<(f64, f64)>,
    sum: f64,
}

impl Distribution {
    /// What a histogram of a model got after `before` and until `after`.
    pub(crate) fn between(before: &Page, after: &Page, name: &str, model: &str) -> Result<Self> {
        let sum = |page: &Page| page.value(&format!("{name}_sum"), model);
        let (earlier, later) = (buckets(before, name, model)?, buckets(after, name, model)?);
        let buckets =
            later.iter().zip(&earlier).map(|((bound, at_most), (_, then))| (*bound, at_most - then));
        Ok(Self { buckets: buckets.collect(), sum: sum(after)? - sum(before)? })
    }

    /// How many there were.
    pub(crate) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Their mean.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count()
    }

    /// A quantile, as if the values of a bucket were spread evenly over it.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count();
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, at_most) in &self.buckets {
            if at_most >= rank && bound.is_finite() {
                return lower + (bound - lower) * (rank - below) / (at_most - below);
            }
            (lower, below) = (bound, at_most);
        }
        f64::INFINITY
    }
}

/// The buckets of a histogram of a model: upper bound, and how many values were at most that.
fn buckets(page: &Page, name: &str, model: &str) -> Result<Vec<(f64, f64)>> {
    let start = format!("weir_worker_{name}_bucket{{model=\"{model}\"");
    let bucket = |line: &str| {
        let (series, count) = line.rsplit_once(' ')?;
        let bound = series.rsplit_once("le=\"")?.1.strip_suffix("\"}")?;
        // Rust reads Prometheus' `+Inf`.
        Some((bound.parse().ok()?, count.parse().ok()?))
    };
    let lines = page.0.lines().filter(|line| line.starts_with(&start));
    lines.map(|line| bucket(line).with_context(|| format!("no bucket: {line}"))).collect()
}
