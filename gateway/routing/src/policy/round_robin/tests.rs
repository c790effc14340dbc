//! Shares under round robin: per cycle, at any moment, through joins and leaves, under labels and threads.
//!
//! Shares are compared in virtual time (turns divided by weight), where fair means equal.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, sample::Index};
use weir_protocol::WorkerId;

use super::{choose_within, stride};
use crate::{
    Directory, Endpoint, Health, Labels, Needs, Policy, Pool,
    filter::Survey,
    fixture::{ask, labels, pool, serving, spec, weighted},
};

/// Picks and finishes one request; the worker it went to.
fn pick(pool: &Pool, labels: &Labels, random: u64) -> WorkerId {
    let (lease, _) = pool.pick(&ask(Policy::RoundRobin, labels, random)).unwrap();
    lease.endpoint().spec.id.clone()
}

/// How often each of `count` picks went to each worker.
fn spread(pool: &Pool, labels: &Labels, count: u64) -> BTreeMap<WorkerId, u64> {
    let mut counts = BTreeMap::new();
    for random in 0..count {
        *counts.entry(pick(pool, labels, random)).or_default() += 1;
    }
    counts
}

/// Virtual time that `count` turns of `endpoint` take, in turns of weight 1.
fn used(endpoint: &Endpoint, counts: &BTreeMap<WorkerId, u64>) -> f64 {
    counts.get(&endpoint.spec.id).copied().unwrap_or(0) as f64 / endpoint.spec.weight
}

proptest! {
    #[test]
    fn a_full_cycle_gives_each_its_weight_within_one_request(
        weights in prop::collection::vec(1_u64..=20, 1..8),
        cycles in 1_u64..=5,
    ) {
        let endpoints = weighted(&weights.iter().map(|weight| *weight as f64).collect::<Vec<_>>());
        let directory = serving(&Directory::default(), &endpoints);
        let counts = spread(pool(&directory), &Labels::new(), cycles * weights.iter().sum::<u64>());
        for (endpoint, weight) in endpoints.iter().zip(&weights) {
            let got = counts.get(&endpoint.spec.id).copied().unwrap_or(0);
            prop_assert!(got.abs_diff(cycles * weight) <= 1, "weight {weight}: {got} in {cycles} cycles");
        }
    }

    #[test]
    fn at_any_moment_two_replicas_differ_by_one_turn_at_most(
        weights in prop::collection::vec(0.05_f64..=20.0, 2..8),
        picks in 1_u64..=300,
    ) {
        let endpoints = weighted(&weights);
        let directory = serving(&Directory::default(), &endpoints);
        let counts = spread(pool(&directory), &Labels::new(), picks);
        for a in &endpoints {
            for b in &endpoints {
                let ahead = used(a, &counts) - used(b, &counts);
                let allowed = 1.0 / b.spec.weight + 1e-3;
                prop_assert!(ahead <= allowed, "{} is {ahead} turns ahead of {}", a.spec.id, b.spec.id);
            }
        }
    }

    #[test]
    fn shares_hold_from_the_moment_that_replicas_join_leave_or_come_back(
        weights in prop::collection::vec(0.2_f64..=5.0, 3..7),
        changes in prop::collection::vec((any::<Index>(), any::<bool>(), 0_u64..60), 1..12),
    ) {
        let endpoints = weighted(&weights);
        let mut members = endpoints.clone();
        let mut directory = serving(&Directory::default(), &members);
        for (which, by_rebuild, picks) in changes {
            let changed = which.get(&endpoints);
            if by_rebuild {
                toggle_membership(&mut members, changed);
                directory = serving(&directory, &members);
            } else {
                toggle_health(changed);
            }
            let present: Vec<_> =
                members.iter().filter(|member| member.live.health() == Health::Healthy).collect();
            let picks = if present.is_empty() { 0 } else { picks };
            let counts = spread(pool(&directory), &Labels::new(), picks);
            for a in &present {
                for b in &present {
                    let ahead = used(a, &counts) - used(b, &counts);
                    let allowed = 1.0 / a.spec.weight + 1.0 / b.spec.weight + 1e-3;
                    prop_assert!(ahead <= allowed, "{} is {ahead} turns ahead of {}", a.spec.id, b.spec.id);
                }
            }
        }
    }
}

/// Takes an endpoint out of the fleet or puts it back; the last one stays.
fn toggle_membership(members: &mut Vec<Arc<Endpoint>>, changed: &Arc<Endpoint>) {
    match members.iter().position(|member| member.spec.id == changed.spec.id) {
        Some(found) if members.len() > 1 => drop(members.remove(found)),
        Some(_) => {}
        None => members.push(Arc::clone(changed)),
    }
}

fn toggle_health(endpoint: &Endpoint) {
    endpoint.live.set_health(match endpoint.live.health() {
        Health::Healthy => Health::Unhealthy,
        _ => Health::Healthy,
    });
}

#[test]
fn a_replica_that_was_away_for_long_gets_its_share_and_no_more() {
    let endpoints = weighted(&[1.0; 4]);
    let directory = serving(&Directory::default(), &endpoints);
    endpoints[0].live.set_health(Health::Unhealthy);
    spread(pool(&directory), &Labels::new(), 3_000);
    endpoints[0].live.set_health(Health::Healthy);
    let counts = spread(pool(&directory), &Labels::new(), 400);
    assert!((99..=101).contains(&counts[&endpoints[0].spec.id]), "{counts:?}");
}

#[test]
fn traffic_for_a_subset_neither_starves_the_rest_nor_distorts_it() {
    // Workers 0 and 1 carry a label that every other request asks for; 2 and 3 share the rest by weight, 1 to 3.
    let mut specs: Vec<_> = ["a", "b", "c", "d"].map(spec).into();
    specs[0].labels = labels(&[("tier", "gold")]);
    specs[1].labels = labels(&[("tier", "gold")]);
    specs[3].weight = 3.0;
    let endpoints: Vec<_> = specs.into_iter().map(crate::fixture::healthy).collect();
    let directory = serving(&Directory::default(), &endpoints);
    let gold = labels(&[("tier", "gold")]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for random in 0..4_000 {
        for _ in 0..8 {
            pick(pool(&directory), &gold, random);
        }
        *counts.entry(pick(pool(&directory), &Labels::new(), random).to_string()).or_default() += 1;
    }
    let (light, heavy) = (counts["c"], counts["d"]);
    assert!(light > 600, "{counts:?}");
    assert!((2.5..3.5).contains(&(f64::from(heavy) / f64::from(light))), "{counts:?}");
    // Once the labelled requests stop there is no debt to pay: plain shares from the next request on.
    let after = spread(pool(&directory), &Labels::new(), 600);
    assert!((99..=101).contains(&after[&endpoints[0].spec.id]), "{after:?}");
}

#[test]
fn threads_that_pick_at_once_share_by_weight_and_every_pick_is_charged() {
    const THREADS: u64 = 4;
    const PICKS: u64 = 20_000;
    let endpoints = weighted(&(1..=16).map(f64::from).collect::<Vec<_>>());
    let directory = serving(&Directory::default(), &endpoints);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for random in 0..PICKS {
                    let (mut lease, _) =
                        pool(&directory).pick(&ask(Policy::RoundRobin, &Labels::new(), random)).unwrap();
                    lease.mark_sent();
                }
            });
        }
    });
    let total_weight: f64 = endpoints.iter().map(|endpoint| endpoint.spec.weight).sum();
    for replica in &pool(&directory).replicas {
        let fair = (THREADS * PICKS) as f64 * replica.weight() / total_weight;
        let got = replica.live.sent();
        assert!((got as f64 / fair - 1.0).abs() < 0.1, "weight {}: {got}, fair {fair}", replica.weight());
        // Two threads that took the same turn would leave one of them uncharged.
        assert!(replica.live.turn() >= got * stride(replica), "weight {}", replica.weight());
    }
}

#[test]
fn a_pick_that_lost_every_claim_is_charged_all_the_same() {
    let endpoints = weighted(&[1.0, 3.0]);
    let directory = serving(&Directory::default(), &endpoints);
    let (replicas, labels) = (&pool(&directory).replicas, Labels::new());
    let mut counts = [0, 0];
    for random in 0..400 {
        let taken = choose_within(0, &mut Survey::new(replicas, Needs::rest(&labels), &[]), random).unwrap();
        counts[usize::from(taken.weight() == 3.0)] += 1;
    }
    assert_eq!(counts, [100, 300]);
}

#[test]
fn turns_at_the_end_of_virtual_time_still_go_round() {
    let endpoints = weighted(&[1.0; 3]);
    let directory = serving(&Directory::default(), &endpoints);
    for replica in &pool(&directory).replicas {
        assert!(replica.live.claim_turn(0, u64::MAX));
    }
    let counts = spread(pool(&directory), &Labels::new(), 600);
    assert!(endpoints.iter().all(|endpoint| counts[&endpoint.spec.id] > 100), "{counts:?}");
}
