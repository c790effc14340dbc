//! Leases count in and out at every stage, and a drain lets nothing through.
//!
//! The stress test is the proof of the drain protocol that the endpoint's documentation states.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use proptest::prelude::*;

use super::*;
use crate::{
    Ask, Directory, Exclusion, Labels, Needs, Policy, Pool,
    fixture::{MODEL, ask, name, pool, serving, version, weighted},
};

/// (in flight, dispatching) of an endpoint.
fn counts(endpoint: &Endpoint) -> (u64, u64) {
    (endpoint.live.in_flight(), endpoint.live.dispatching())
}

#[test]
fn a_lease_counts_from_pick_to_drop_and_dispatch_until_sent() {
    let endpoints = weighted(&[1.0]);
    let directory = serving(&Directory::default(), &endpoints);
    let live = &pool(&directory).replicas[0].live;
    let (mut lease, _) = pool(&directory).pick(&ask(Policy::RoundRobin, &Labels::new(), 0)).unwrap();
    assert_eq!((lease.model(), lease.version()), (&name(MODEL), version(1)));
    assert_eq!((counts(&endpoints[0]), live.in_flight(), live.sent()), ((1, 1), 1, 0));
    lease.mark_sent();
    lease.mark_sent();
    assert_eq!((counts(&endpoints[0]), live.in_flight(), live.sent()), ((1, 0), 1, 1));
    drop(lease);
    assert_eq!((counts(&endpoints[0]), live.in_flight(), live.sent()), ((0, 0), 0, 1));
}

#[test]
fn a_lease_dropped_before_it_was_sent_ends_its_dispatch_and_was_never_sent() {
    let endpoints = weighted(&[1.0]);
    let directory = serving(&Directory::default(), &endpoints);
    drop(pool(&directory).pick(&ask(Policy::LeastConnections, &Labels::new(), 0)).unwrap());
    assert_eq!((counts(&endpoints[0]), pool(&directory).replicas[0].live.sent()), ((0, 0), 0));
}

#[test]
fn a_lease_outlives_the_directory_it_was_picked_from() {
    let endpoints = weighted(&[1.0]);
    let directory = serving(&Directory::default(), &endpoints);
    let (lease, _) = pool(&directory).pick(&ask(Policy::RoundRobin, &Labels::new(), 0)).unwrap();
    drop(directory);
    assert_eq!(counts(&endpoints[0]), (1, 1));
    drop(lease);
    assert_eq!(counts(&endpoints[0]), (0, 0));
}

#[test]
fn a_replica_that_drains_between_choice_and_lease_is_not_leased_and_not_counted() {
    let endpoints = weighted(&[1.0]);
    let directory = serving(&Directory::default(), &endpoints);
    let replica = &pool(&directory).replicas[0];
    endpoints[0].live.set_draining(true);
    assert!(Lease::take(replica).is_none());
    assert_eq!((counts(&endpoints[0]), replica.live.in_flight(), replica.live.sent()), ((0, 0), 0, 0));
}

/// What happens to a held lease, or whether one is taken.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pick,
    Send,
    Drop,
}

proptest! {
    #[test]
    fn counts_equal_the_leases_held_and_return_to_zero(
        steps in prop::collection::vec(prop::sample::select(&[Step::Pick, Step::Send, Step::Drop]), 0..120),
        policy in prop::sample::select(Policy::ALL.to_vec()),
    ) {
        let endpoints = weighted(&[1.0, 2.0, 0.5]);
        let directory = serving(&Directory::default(), &endpoints);
        let (mut unsent, mut sent) = (Vec::new(), Vec::new());
        for (random, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pick => {
                    let labels = Labels::new();
                    unsent.push(pool(&directory).pick(&ask(policy, &labels, random as u64)).unwrap().0);
                }
                Step::Send => sent.extend(unsent.pop().map(|mut lease| {
                    lease.mark_sent();
                    lease
                })),
                Step::Drop if random.is_multiple_of(2) => drop(unsent.pop()),
                Step::Drop => drop(sent.pop()),
            }
            let (in_flight, dispatching) =
                endpoints.iter().map(|e| counts(e)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            prop_assert_eq!(in_flight, (unsent.len() + sent.len()) as u64);
            prop_assert_eq!(dispatching, unsent.len() as u64);
        }
        drop((unsent, sent));
        prop_assert!(endpoints.iter().all(|endpoint| counts(endpoint) == (0, 0)));
        prop_assert!(pool(&directory).replicas.iter().all(|replica| replica.live.in_flight() == 0));
    }
}

/// What the threads of the drain test share.
struct Stage {
    directory: Directory,
    drained: Arc<Endpoint>,
    /// Set from the moment that the drain call would have returned until the drain is taken back.
    closed: AtomicBool,
    stop: AtomicBool,
    /// Picks done by all threads.
    picks: AtomicU64,
    /// Requests that were about to be sent to the drained worker although the drain had returned.
    leaked: AtomicU64,
}

impl Stage {
    fn pool(&self) -> &Pool {
        pool(&self.directory)
    }

    fn send_requests(&self) {
        let labels = Labels::new();
        while !self.stop.load(SeqCst) {
            let random = self.picks.fetch_add(1, SeqCst);
            let policy = if random.is_multiple_of(2) { Policy::RoundRobin } else { Policy::LeastConnections };
            let asked = Ask { policy, needs: Needs::rest(&labels), tried: &[], random };
            let Ok((mut lease, _)) = self.pool().pick(&asked) else { continue };
            // The lease is still dispatching, so a drain that returns in this time has missed it.
            spin(100);
            if lease.endpoint().spec.id == self.drained.spec.id && self.closed.load(SeqCst) {
                self.leaked.fetch_add(1, SeqCst);
            }
            lease.mark_sent();
        }
    }

    /// Drains, lets the other threads go on for a while, takes the drain back and lets them go on again. Returns
    /// how many requests reached the worker while it was drained.
    fn drain_once(&self) -> u64 {
        let sent = || self.pool().on(&self.drained.spec.id).unwrap().live.sent();
        self.drained.live.set_draining(true);
        while self.drained.live.dispatching() > 0 {
            std::thread::yield_now();
        }
        self.closed.store(true, SeqCst);
        let sent_before = sent();
        spin(400);
        let leaked = sent() - sent_before;
        self.closed.store(false, SeqCst);
        self.drained.live.set_draining(false);
        spin(400);
        leaked
    }
}

/// Passes the time of one pick (100) or several.
fn spin(turns: u32) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

#[test]
fn no_request_reaches_a_worker_once_its_drain_has_returned() {
    const DRAINS: usize = 20_000;
    // The drained worker attracts nearly everything.
    let endpoints = weighted(&[1000.0, 1.0]);
    let stage = Stage {
        directory: serving(&Directory::default(), &endpoints),
        drained: Arc::clone(&endpoints[0]),
        closed: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        picks: AtomicU64::new(0),
        leaked: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| stage.send_requests());
        }
        let sent_while_drained: u64 = (0..DRAINS).map(|_| stage.drain_once()).sum();
        stage.stop.store(true, SeqCst);
        assert_eq!(sent_while_drained, 0);
    });
    assert_eq!(stage.leaked.load(SeqCst), 0);
    assert!(endpoints.iter().all(|endpoint| counts(endpoint) == (0, 0)));
    assert!(stage.pool().replicas[0].live.sent() > 0, "the drained worker was never used");
}

#[test]
fn a_pool_whose_only_worker_drains_says_so() {
    let endpoints = weighted(&[1.0]);
    let directory = serving(&Directory::default(), &endpoints);
    endpoints[0].live.set_draining(true);
    let excluded = pool(&directory).pick(&ask(Policy::RoundRobin, &Labels::new(), 0)).unwrap_err();
    assert_eq!(excluded.iter().collect::<Vec<_>>(), [(Exclusion::Draining, 1)]);
    endpoints[0].live.set_draining(false);
    assert!(pool(&directory).pick(&ask(Policy::RoundRobin, &Labels::new(), 0)).is_ok());
}
