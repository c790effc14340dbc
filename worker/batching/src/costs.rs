//! What batches of one queue cost, by bucket: measured at warm-up or learned from the first batches, and scaled by what
//! batches take of late.
//!
//! Pure. The device asks for a bucket's cost when it chooses a batch, admits or quotes, and tells what each batch took.
//! A line has the shape of a bucket's cost; all drift since is in the one scale of the queue.

use std::{collections::BTreeMap, time::Duration};

use self::{learned::Learned, scale::Scale};
use crate::{BatchCost, ShapeKey, cost::times};

mod learned;
mod scale;

/// Buckets of one queue that are learned. Clients choose the sizes of free dimensions where model.toml names no
/// buckets, so that there may be any number; the one that was used longest ago goes.
const MOST_LEARNED: usize = 64;
/// Costs are stale when no batch was measured for so long.
const STALE: Duration = Duration::from_secs(1);
/// Cost of a bucket that nothing is known of: next to nothing, so that it is tried.
const UNKNOWN: BatchCost = BatchCost { base: Duration::from_micros(1), per_unit: Duration::from_micros(1) };

/// Costs of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    seeded: BTreeMap<ShapeKey, BatchCost>,
    learned: BTreeMap<ShapeKey, Used>,
    scale: Scale,
    /// When a batch was measured last.
    measured: Option<Duration>,
    /// Counts observations: what is used when.
    turn: u64,
}

/// A learned bucket and when it was used last, by [`Costs::turn`].
#[derive(Debug, Clone, Default, PartialEq)]
struct Used {
    learned: Learned,
    turn: u64,
}

impl Costs {
    /// Costs that warm-up measured, by bucket; other buckets are learned.
    #[must_use]
    pub fn new(seeds: &[(ShapeKey, BatchCost)]) -> Self {
        Self { seeded: seeds.iter().cloned().collect(), ..Self::default() }
    }

    /// What a batch of the bucket costs now: its line, scaled. Of a bucket whose line is not known yet, what is known
    /// of the one that is most like it; 1 us and 1 us per unit when nothing is known of any.
    #[must_use]
    pub fn of(&self, shape: &ShapeKey) -> BatchCost {
        let line = self.line(shape).or_else(|| self.guess(shape));
        line.map_or(UNKNOWN, |line| line.scaled(self.scale.get()))
    }

    /// Learns from a batch of the bucket that ended at `now` and `took` so long: the bucket's line while that is being
    /// learned, else the scale.
    pub fn observe(&mut self, now: Duration, shape: &ShapeKey, units: u32, took: Duration) {
        self.measured = Some(now);
        self.turn = self.turn.saturating_add(1);
        if let Some(line) = self.seeded.get(shape) {
            self.scale.observe(took, line.of(units));
            return;
        }
        let (scale, turn) = (self.scale.get(), self.turn);
        let used = self.room_for(shape);
        used.turn = turn;
        match used.learned.line().filter(|_| used.learned.knows(units)) {
            Some(line) => self.scale.observe(took, line.of(units)),
            None => used.learned.observe(units, times(took, 1.0 / scale)),
        }
    }

    /// Whether no batch was measured for a second, or ever. What costs say may then be wrong for good, for nothing runs
    /// that could correct them: the next request should be tried whatever they say.
    #[must_use]
    pub fn stale(&self, now: Duration) -> bool {
        self.measured.is_none_or(|measured| now.saturating_sub(measured) >= STALE)
    }

    /// How much longer batches take of late than their line says: 1 = just so; 0.25 to 20.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale.get()
    }

    /// The unscaled lines of the buckets that are known, measured ones first, each in order of shape.
    pub fn lines(&self) -> impl Iterator<Item = (&ShapeKey, BatchCost)> {
        let learned = self.learned.iter().filter_map(|(shape, used)| Some((shape, used.learned.line()?)));
        self.seeded.iter().map(|(shape, line)| (shape, *line)).chain(learned)
    }

    /// The known bucket whose rows have the fewest elements.
    #[must_use]
    pub fn smallest(&self) -> Option<&ShapeKey> {
        self.lines().map(|(shape, _)| shape).min_by(|a, b| elements(a).total_cmp(&elements(b)))
    }

    fn line(&self, shape: &ShapeKey) -> Option<BatchCost> {
        let seeded = self.seeded.get(shape).copied();
        seeded.or_else(|| self.learned.get(shape)?.learned.line())
    }

    /// The line of the bucket whose rows have most nearly as many elements, its units made larger or smaller by as much.
    fn guess(&self, shape: &ShapeKey) -> Option<BatchCost> {
        let wanted = elements(shape);
        let apart = |other: &ShapeKey| (elements(other) / wanted).ln().abs();
        let (like, line) = self.lines().min_by(|(a, _), (b, _)| apart(a).total_cmp(&apart(b)))?;
        let per_unit = times(line.per_unit, wanted / elements(like));
        Some(BatchCost { per_unit, ..line })
    }

    /// The place where a bucket is learned; the one that was used longest ago goes when there are too many.
    fn room_for(&mut self, shape: &ShapeKey) -> &mut Used {
        if !self.learned.contains_key(shape) && self.learned.len() >= MOST_LEARNED {
            let oldest =
                self.learned.iter().min_by_key(|(_, used)| used.turn).map(|(shape, _)| shape.clone());
            oldest.and_then(|shape| self.learned.remove(&shape));
        }
        self.learned.entry(shape.clone()).or_default()
    }
}

/// Elements of one row of free dimensions, at least 1.
fn elements(shape: &ShapeKey) -> f64 {
    shape.0.iter().map(|size| (*size).max(1) as f64).product()
}

#[cfg(test)]
mod tests;
