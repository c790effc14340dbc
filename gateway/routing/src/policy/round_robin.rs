//! Each replica in turn, by weight: stride scheduling (Waldspurger and Weihl, 1995) without a lock.
//!
//! Virtual time advances by [`STRIDE`] / weight per turn of a replica; the one whose next turn comes first is
//! taken. The only state is each replica's last turn, so replicas may come and go and pools be rebuilt freely.

use super::least::Least;
use crate::{Replica, filter::Survey};

/// Virtual time between two turns of a replica of weight 1, without unit. At 2^24 a weight of 1000 is rounded by
/// 1 in 100,000, and 64 bits last for 2^40 turns.
const STRIDE: f64 = (1_u64 << 24) as f64;

/// Scans before a pick that keeps losing its choice to other threads takes it all the same. Bounds the time of a
/// pick; the turn is still charged, so shares stay right and only the order suffers.
const SCANS: u32 = 4;

/// The replica whose next turn comes first; equals are drawn by weight.
pub(super) fn choose<'a>(survey: &mut Survey<'a>, random: u64) -> Option<&'a Replica> {
    // Virtual time now: nobody's next turn lies before it. While the same replicas are eligible this holds by
    // itself. One that was away, has just joined or belongs to a subset that was asked for less would otherwise
    // get every request until it caught up.
    let mut now = 0;
    for scan in 1.. {
        let mut latest = 0;
        let mut least = Least::new(random);
        survey.visit(|replica| {
            let seen = replica.live.turn();
            latest = latest.max(seen);
            least.offer(seen.saturating_add(stride(replica)).max(now), replica.weight(), (replica, seen));
        });
        let (turn, (replica, seen)) = least.into_best()?;
        if scan == SCANS {
            replica.live.charge_turn(stride(replica));
            return Some(replica);
        }
        if turn < latest {
            now = latest;
        } else if replica.live.claim_turn(seen, turn) {
            // Turns only move forward: as this one had not moved, it was still the first.
            return Some(replica);
        }
    }
    None
}

fn stride(replica: &Replica) -> u64 {
    (STRIDE / replica.weight()) as u64
}
