//! The best window in order of arrival: what choosing batches by deadline gives without a queue ordered by it.

use std::time::Duration;

use weir_batching::BatchCost;

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn, fifo::Line},
};

/// The margin of the rule that has one, in percent of the believed time.
const MARGIN_PERCENT: u32 = 125;

/// Of all runs of neighbours that end in time for each of them, the one with most rows per second.
#[derive(Debug)]
pub(super) struct BestWindow {
    line: Line,
    cost: BatchCost,
    most: u32,
    percent: u32,
}

/// A run of neighbours in the queue.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    first: usize,
    length: usize,
    rows: u32,
}

impl BestWindow {
    pub(super) fn new(cost: BatchCost, most: u32) -> Self {
        Self { line: Line::default(), cost, most, percent: 100 }
    }

    pub(super) fn with_margin(cost: BatchCost, most: u32) -> Self {
        Self { percent: MARGIN_PERCENT, ..Self::new(cost, most) }
    }

    fn end(&self, now: Duration, rows: u32) -> Duration {
        now + self.cost.of(rows) * self.percent / 100
    }

    /// The longest window that begins at `first`.
    fn window(&self, now: Duration, first: usize) -> Window {
        let mut window = Window { first, ..Window::default() };
        let mut tightest = Duration::MAX;
        for request in self.line.waiting.iter().skip(first) {
            let rows = window.rows + request.rows;
            tightest = tightest.min(request.deadline.unwrap_or(Duration::MAX));
            if rows > self.most || self.end(now, rows) > tightest {
                break;
            }
            window = Window { length: window.length + 1, rows, ..window };
        }
        window
    }
}

impl Batcher for BestWindow {
    fn offer(&mut self, _now: Duration, request: Request) -> Offer {
        self.line.push(request)
    }

    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn {
        while let Some(first) = self.line.waiting.front() {
            if first.deadline.is_none_or(|deadline| self.end(now, first.rows) <= deadline) {
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
