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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::{
        Directory, Labels, Policy,
        fixture::{ask, pool, serving, weighted},
    };

    proptest! {
        #[test]
        fn the_choice_has_the_fewest_in_flight_per_weight(
            replicas in prop::collection::vec((0.01_f64..=100.0, 0_u64..=50), 1..20),
            random: u64,
        ) {
            let weights: Vec<f64> = replicas.iter().map(|(weight, _)| *weight).collect();
            let directory = serving(&Directory::default(), &weighted(&weights));
            let pool = pool(&directory);
            for (replica, (_, in_flight)) in pool.replicas.iter().zip(&replicas) {
                (0..*in_flight).for_each(|_| replica.live.begin());
            }
            let least = replicas.iter().map(|(weight, n)| (n + 1) as f64 / weight).fold(f64::MAX, f64::min);
            let (lease, _) = pool.pick(&ask(Policy::LeastConnections, &Labels::new(), random)).unwrap();
            let taken = pool.on(&lease.endpoint().spec.id).unwrap();
            // The lease itself is counted by now.
            prop_assert_eq!(taken.live.in_flight() as f64 / taken.weight(), least);
        }
    }

    #[test]
    fn equals_share_evenly() {
        let directory = serving(&Directory::default(), &weighted(&[1.0; 8]));
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        for random in 0..8_000 {
            let labels = Labels::new();
            let (lease, _) = pool(&directory).pick(&ask(Policy::LeastConnections, &labels, random)).unwrap();
            *counts.entry(lease.endpoint().spec.id.clone()).or_default() += 1;
        }
        // 8,000 draws among 8: five standard deviations are below 150.
        assert!(counts.len() == 8 && counts.values().all(|got| got.abs_diff(1_000) < 150), "{counts:?}");
    }

    #[test]
    fn held_requests_spread_by_weight() {
        let endpoints = weighted(&[1.0, 2.0, 5.0]);
        let directory = serving(&Directory::default(), &endpoints);
        let labels = Labels::new();
        let leases: Vec<_> = (0..80)
            .map(|random| pool(&directory).pick(&ask(Policy::LeastConnections, &labels, random)).unwrap())
            .collect();
        assert_eq!(endpoints.iter().map(|e| e.live.in_flight()).collect::<Vec<_>>(), [10, 20, 50]);
        drop(leases);
        assert!(endpoints.iter().all(|endpoint| endpoint.live.in_flight() == 0));
    }
}
