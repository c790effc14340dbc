//! Fewest requests in flight per weight, by looking at every eligible replica.
//!
//! Counts this gateway's own requests only. Two picks at the same moment may choose the same replica; the next one
//! sees both counted.

use super::least::Least;
use crate::{Replica, filter::Survey};

/// The replica with the least `(in flight + 1) / weight`; equals share evenly.
pub(super) fn choose<'a>(survey: &mut Survey<'a>, random: u64) -> Option<&'a Replica> {
    let mut least = Least::new(random);
    survey.visit(|replica| least.offer(score(replica), 1.0, replica));
    least.into_best().map(|(_, replica)| replica)
}

fn score(replica: &Replica) -> f64 {
    (replica.live.in_flight() + 1) as f64 / replica.weight()
}
