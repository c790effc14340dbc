//! Additive increase, multiplicative decrease of the batch size, as in Clipper (Crankshaw et al., NSDI 2017).

use std::time::Duration;

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn, fifo::Line},
};

/// What a batch with a late request leaves of the limit: the paper's small step back.
const DECREASE: f64 = 0.9;

/// Order of arrival, up to a limit that follows whether requests were in time.
#[derive(Debug)]
pub(super) struct Aimd {
    line: Line,
    most: u32,
    limit: f64,
}

impl Aimd {
    pub(super) fn new(most: u32) -> Self {
        Self { line: Line::default(), most, limit: 1.0 }
    }
}

impl Batcher for Aimd {
    fn offer(&mut self, _now: Duration, request: Request) -> Offer {
        self.line.push(request)
    }

    fn next(&mut self, _now: Duration, _dropped: &mut Vec<Request>) -> Turn {
        self.line.take(self.limit as u32)
    }

    fn finish(&mut self, _now: Duration, batch: &[Request], took: Duration) {
        let has =
            |request: &Request| request.deadline.map(|deadline| deadline.saturating_sub(request.arrived));
        // A request that just misses a batch waits for it and then for its own.
        let long = batch.iter().filter_map(has).any(|time| took * 2 > time);
        let limit = if long { self.limit * DECREASE } else { self.limit + 1.0 };
        self.limit = limit.clamp(1.0, f64::from(self.most));
    }
}
