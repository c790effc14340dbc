//! Batching by order of arrival: greedy, with a cap on the queue, without what has expired.

use std::{collections::VecDeque, time::Duration};

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn},
};

/// Full batches that may wait where the queue has a cap.
const CAP_BATCHES: u32 = 4;

/// A queue in order of arrival, in rows.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<Request>,
}

/// Whatever waits, up to a full batch.
#[derive(Debug)]
pub(super) struct Greedy {
    line: Line,
    most: u32,
    cap: Option<u32>,
    drops_expired: bool,
}

impl Line {
    pub(super) fn push(&mut self, request: Request) -> Offer {
        self.waiting.push_back(request);
        Offer::Queued(None)
    }

    /// The first of those that wait, as many as have at most `rows` rows together.
    pub(super) fn take(&mut self, rows: u32) -> Turn {
        let mut batch = Vec::new();
        let mut left = rows;
        while let Some(first) = self.waiting.front().filter(|first| first.rows <= left) {
            left -= first.rows;
            batch.extend(self.waiting.pop_front());
        }
        if batch.is_empty() { Turn::Idle } else { Turn::Run(batch) }
    }

    pub(super) fn rows(&self) -> u32 {
        self.waiting.iter().map(|request| request.rows).sum()
    }
}

impl Greedy {
    pub(super) fn new(most: u32) -> Self {
        Self { line: Line::default(), most, cap: None, drops_expired: false }
    }

    pub(super) fn capped(most: u32) -> Self {
        Self { cap: Some(most.saturating_mul(CAP_BATCHES)), ..Self::new(most) }
    }

    pub(super) fn without_expired(most: u32) -> Self {
        Self { drops_expired: true, ..Self::new(most) }
    }
}

impl Batcher for Greedy {
    fn offer(&mut self, _now: Duration, request: Request) -> Offer {
        if self.cap.is_some_and(|cap| self.line.rows() + request.rows > cap) {
            return Offer::Refused;
        }
        self.line.push(request)
    }

    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn {
        if self.drops_expired {
            let expired = |request: &Request| request.deadline.is_some_and(|deadline| deadline <= now);
            dropped.extend(self.line.waiting.iter().filter(|request| expired(request)));
            self.line.waiting.retain(|request| !expired(request));
        }
        self.line.take(self.most)
    }

    fn finish(&mut self, _now: Duration, _batch: &[Request], _took: Duration) {}
}
