//! The tickets of one bucket that are in one priority class now, in the order in which they should run.
//!
//! Knows rows, units, deadlines and order; the tickets themselves are `line`'s. Batch choice (`window`) reads it.

use std::{collections::BTreeMap, time::Duration};

/// A place in the order: the time that orders it, then the order of arrival.
pub(crate) type Place = (Duration, u64);

/// What a ticket adds to a batch, and by when it must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rows: u32,
    pub(crate) units: u32,
    /// [`Duration::MAX`] = never.
    pub(crate) deadline: Duration,
}

/// Tickets of one class, ordered; with the sums of their rows and units.
#[derive(Debug, Default)]
pub(crate) struct Rank {
    order: BTreeMap<Place, Weight>,
    /// Units by deadline, of those that have one.
    deadlines: BTreeMap<Place, u32>,
    rows: u64,
    units: u64,
    /// Least and most units of a ticket that was in it since it was empty.
    lightest: Option<u32>,
    heaviest: u32,
}

impl Rank {
    pub(crate) fn insert(&mut self, place: Place, weight: Weight) {
        self.order.insert(place, weight);
        if weight.deadline < Duration::MAX {
            self.deadlines.insert((weight.deadline, place.1), weight.units);
        }
        self.rows += u64::from(weight.rows);
        self.units += u64::from(weight.units);
        self.lightest = Some(self.lightest.map_or(weight.units, |least| least.min(weight.units)));
        self.heaviest = self.heaviest.max(weight.units);
    }

    pub(crate) fn remove(&mut self, place: Place) {
        let Some(weight) = self.order.remove(&place) else { return };
        self.deadlines.remove(&(weight.deadline, place.1));
        self.rows -= u64::from(weight.rows);
        self.units -= u64::from(weight.units);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// In the order in which they should run: by sequence, with what they weigh.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (u64, Weight)> {
        self.order.iter().map(|((_, sequence), weight)| (*sequence, *weight))
    }

    /// (deadline, sequence, units) of those that must be done before `end`, the tightest first.
    pub(crate) fn due_before(&self, end: Duration) -> impl Iterator<Item = (Duration, u64, u32)> {
        let due = self.deadlines.range(..(end, 0));
        due.map(|((deadline, sequence), units)| (*deadline, *sequence, *units))
    }

    /// Rows of the tickets that `order` does not go before. Walks from both ends at once: most tickets join at one.
    pub(crate) fn rows_until(&self, order: Duration) -> u64 {
        let place = (order, u64::MAX);
        let (mut until, mut after) = (0, 0);
        let mut first = self.order.range(..=place);
        let mut last = self.order.range(place..).rev();
        loop {
            let Some((_, weight)) = first.next() else { return until };
            until += u64::from(weight.rows);
            let Some((_, weight)) = last.next() else { return self.rows.saturating_sub(after) };
            after += u64::from(weight.rows);
        }
    }

    /// No ticket in it has fewer units.
    pub(crate) fn lightest(&self) -> u32 {
        self.lightest.unwrap_or(1)
    }

    /// No ticket in it has more units.
    pub(crate) fn heaviest(&self) -> u32 {
        self.heaviest
    }

    /// The earliest deadline in it.
    pub(crate) fn tightest(&self) -> Option<Duration> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }
}
