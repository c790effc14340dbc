//! Each replica in turn, by weight: stride scheduling (Waldspurger and Weihl, 1995) without a lock.
//!
//! Virtual time advances by [`STRIDE`] / weight per turn of a replica; the one whose next turn comes first is
//! taken. The only state is each replica's last turn, so replicas may come and go and pools be rebuilt freely.

use super::least::Least;
use crate::{Replica, filter::Survey};

/// Virtual time between two turns of a replica of weight 1, without unit. At 2^24 a weight of 1000 is rounded by
/// 1 in 100,000, and 64 bits last for 2^40 turns.
const STRIDE: f64 = (1_u64 << 24) as f64;

/// Times that a pick tries to claim the first turn before it takes what it found all the same. Many threads on a
/// large pool of unequal weights would else scan again and again; each such pick may cost the others one turn.
const CLAIMS: u32 = 4;

/// The first turn that one scan found.
struct Found<'a> {
    replica: &'a Replica,
    /// Its last turn, as the scan saw it.
    seen: u64,
    /// Its next one.
    next: u64,
    /// The latest turn that any eligible replica has had.
    latest: u64,
}

/// The replica whose next turn comes first; equals are drawn by weight.
pub(super) fn choose<'a>(survey: &mut Survey<'a>, random: u64) -> Option<&'a Replica> {
    choose_within(CLAIMS, survey, random)
}

fn choose_within<'a>(claims: u32, survey: &mut Survey<'a>, random: u64) -> Option<&'a Replica> {
    // Nobody's next turn lies before `now`. While the same replicas stay eligible this holds by itself. One that
    // was away, has just joined, or that fewer requests may use would else get every request until it caught up.
    let mut now = 0;
    for _ in 0..claims {
        let found = scan(survey, random, now)?;
        if found.next < found.latest {
            now = found.latest;
        } else if found.replica.live.claim_turn(found.seen, found.next) {
            // Turns only move forward: as this one had not moved since the scan, it was still the first.
            return Some(found.replica);
        }
    }
    let found = scan(survey, random, now)?;
    found.replica.live.charge_turn(stride(found.replica));
    Some(found.replica)
}

fn scan<'a>(survey: &mut Survey<'a>, random: u64, now: u64) -> Option<Found<'a>> {
    let mut latest = 0;
    let mut first = Least::new(random);
    survey.visit(|replica| {
        let seen = replica.live.turn();
        latest = latest.max(seen);
        let next = seen.saturating_add(stride(replica)).max(now);
        first.offer(next, replica.weight(), (replica, seen));
    });
    let (next, (replica, seen)) = first.into_best()?;
    Some(Found { replica, seen, next, latest })
}

fn stride(replica: &Replica) -> u64 {
    (STRIDE / replica.weight()) as u64
}

#[cfg(test)]
mod tests;
