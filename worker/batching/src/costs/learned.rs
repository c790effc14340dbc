//! The line of a bucket that warm-up has not measured, learned from its first batches.
//!
//! Pure and of bounded size: one point per power of two of units. `costs` owns it and keeps drift out of it, which is
//! the scale's.

use std::time::Duration;

use crate::BatchCost;

/// Passes at one size until it counts. The first passes of a new shape are slow, for memory is found and code is
/// specialised; the fastest of three is taken.
const PASSES: u8 = 3;
/// Sizes that are told apart: 1, 2-3, 4-7 and so on, up to 2^15 units and more.
const SIZES: usize = 16;

/// What the first batches of one bucket took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Learned {
    sizes: [Size; SIZES],
    line: Option<BatchCost>,
}

/// The fastest batch so far between one power of two and the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    passes: u8,
    units: u32,
    time: Duration,
}

impl Learned {
    /// The line; `None` until a size has had its passes.
    pub(super) fn line(&self) -> Option<BatchCost> {
        self.line
    }

    /// Whether batches of so many units need no more passes.
    pub(super) fn knows(&self, units: u32) -> bool {
        self.sizes.get(index(units)).is_some_and(|size| size.passes >= PASSES)
    }

    /// Takes note of a batch that took so long at scale 1.
    pub(super) fn observe(&mut self, units: u32, time: Duration) {
        let Some(size) = self.sizes.get_mut(index(units)) else { return };
        // Compared per unit: sizes of one class differ by up to a factor of two.
        let faster = size.passes == 0 || time / units.max(1) < size.time / size.units.max(1);
        if faster {
            (size.units, size.time) = (units, time);
        }
        size.passes = size.passes.saturating_add(1);
        if size.passes == PASSES {
            let known = self.sizes.iter().filter(|size| size.passes >= PASSES);
            self.line = BatchCost::fit(&known.map(|size| (size.units, size.time)).collect::<Vec<_>>());
        }
    }
}

fn index(units: u32) -> usize {
    usize::try_from(units.max(1).ilog2()).unwrap_or(SIZES).min(SIZES - 1)
}
