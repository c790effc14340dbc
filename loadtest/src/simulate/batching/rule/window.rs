//! The best window: of all runs of neighbours in the queue, the one with most rows per second that ends in time.
//!
//! Written for comparison, apart from the code that it is compared with. A window ends in time when its first request
//! is in time, as servers with one deadline per model look at it: in order of arrival with mixed deadlines that is
//! wrong, and the study shows what it costs; in order of deadlines it is right.

use std::{collections::VecDeque, time::Duration};

use weir_batching::BatchCost;

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn, fifo::Line},
};

/// The margin of the rule that has one, in percent of the believed time.
const MARGIN_PERCENT: u32 = 125;

/// Chooses windows; requests at the head that cannot end in time even alone are dropped.
#[derive(Debug)]
pub(super) struct BestWindow {
    line: Line,
    cost: BatchCost,
    most: u32,
    percent: u32,
    by_deadline: bool,
}

/// A run of neighbours in the queue.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    first: usize,
    length: usize,
    rows: u32,
}

impl BestWindow {
    /// In order of arrival.
    pub(super) fn new(cost: BatchCost, most: u32) -> Self {
        Self { line: Line::default(), cost, most, percent: 100, by_deadline: false }
    }

    pub(super) fn with_margin(cost: BatchCost, most: u32) -> Self {
        Self { percent: MARGIN_PERCENT, ..Self::new(cost, most) }
    }

    pub(super) fn by_deadline(cost: BatchCost, most: u32) -> Self {
        Self { by_deadline: true, ..Self::new(cost, most) }
    }

    fn in_time(&self, now: Duration, rows: u32, first: &Request) -> bool {
        first.deadline.is_none_or(|deadline| now + self.cost.of(rows) * self.percent / 100 <= deadline)
    }

    /// The longest window that begins at `first`.
    fn window(&self, now: Duration, first: usize) -> Window {
        let mut window = Window { first, ..Window::default() };
        let Some(head) = self.line.waiting.get(first) else { return window };
        for request in self.line.waiting.iter().skip(first) {
            let rows = window.rows + request.rows;
            if rows > self.most || !self.in_time(now, rows, head) {
                break;
            }
            window = Window { length: window.length + 1, rows, ..window };
        }
        window
    }
}

impl Batcher for BestWindow {
    fn offer(&mut self, _now: Duration, request: Request) -> Offer {
        let waiting: &mut VecDeque<Request> = &mut self.line.waiting;
        let never = Duration::MAX;
        let sooner = |other: &Request| other.deadline.unwrap_or(never) <= request.deadline.unwrap_or(never);
        let place = if self.by_deadline { waiting.partition_point(sooner) } else { waiting.len() };
        waiting.insert(place, request);
        Offer::Queued(None)
    }

    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn {
        while let Some(first) = self.line.waiting.front() {
            if self.in_time(now, first.rows, first) {
                break;
            }
            dropped.extend(self.line.waiting.pop_front());
        }
        let mut best = Window::default();
        for first in 0..self.line.waiting.len() {
            let window = self.window(now, first);
            // More rows are always more rows per second: every batch pays the base.
            if window.rows > best.rows {
                best = window;
            }
            if best.rows == self.most {
                break;
            }
        }
        if best.length == 0 {
            return Turn::Idle;
        }
        Turn::Run(self.line.waiting.drain(best.first..best.first + best.length).collect())
    }

    fn finish(&mut self, _now: Duration, _batch: &[Request], _took: Duration) {}
}
