//! Early drop, as in Nexus (Shen et al., SOSP 2019).

use std::time::Duration;

use weir_batching::BatchCost;

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn, fifo::Line},
};

/// Windows of one size, chosen so that a request which just missed a batch can still run in the next one.
#[derive(Debug)]
pub(super) struct EarlyDrop {
    line: Line,
    cost: BatchCost,
    size: u32,
}

impl EarlyDrop {
    /// The size is the largest whose time fits twice into the deadline; at least one row.
    pub(super) fn new(cost: BatchCost, most: u32, deadline: Option<Duration>) -> Self {
        let fits = |rows: &u32| deadline.is_none_or(|deadline| cost.of(*rows).saturating_mul(2) <= deadline);
        let size = (1..=most).rev().find(fits).unwrap_or(1);
        Self { line: Line::default(), cost, size }
    }
}

impl Batcher for EarlyDrop {
    fn offer(&mut self, _now: Duration, request: Request) -> Offer {
        self.line.push(request)
    }

    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn {
        while let Some(first) = self.line.waiting.front() {
            let end = now + self.cost.of(self.line.rows().min(self.size));
            if first.deadline.is_none_or(|deadline| end <= deadline) {
                break;
            }
            dropped.extend(self.line.waiting.pop_front());
        }
        self.line.take(self.size)
    }

    fn finish(&mut self, _now: Duration, _batch: &[Request], _took: Duration) {}
}
