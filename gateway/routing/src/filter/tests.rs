//! Each exclusion by itself, the order among several, and the conjunction over random states.
//!
//! The property states eligibility a second time, as a flat list of conditions, and compares.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    Ask, Directory, Endpoint, Policy,
    fixture::{MODEL, healthy, id, labels, pool, reported, settings, spec},
};

fn replica(endpoint: &Arc<Endpoint>, state: Lifecycle) -> Replica {
    let member = reported(endpoint, &[(MODEL, 1, state)]);
    let directory = Directory::build(&Directory::default(), &[member], &settings());
    pool(&directory).replicas[0].clone()
}

/// A worker for which every exclusion holds that can; `tried` and needs come with the ask.
fn hopeless() -> Arc<Endpoint> {
    let endpoint = healthy(without_grpc("w"));
    endpoint.live.set_health(Health::Unhealthy);
    endpoint.live.set_draining(true);
    endpoint.live.set_accepting(false);
    endpoint
}

/// A worker that is registered without an address for gRPC.
fn without_grpc(worker: &str) -> EndpointSpec {
    EndpointSpec { grpc: None, ..spec(worker) }
}

#[test]
fn reasons_are_given_in_their_order_as_each_is_put_right() {
    let endpoint = hopeless();
    let gold = labels(&[("tier", "gold")]);
    let here = [id("w")];
    let verdict = |state, labels: &Labels, tried: &[WorkerId]| {
        eligible(&replica(&endpoint, state), Needs { labels, grpc: true }, tried)
    };
    assert_eq!(verdict(Lifecycle::Failed, &gold, &here), Err(Exclusion::NotServing));
    assert_eq!(verdict(Lifecycle::Serving, &gold, &here), Err(Exclusion::Unhealthy));
    endpoint.live.set_health(Health::Unknown);
    assert_eq!(verdict(Lifecycle::Serving, &gold, &here), Err(Exclusion::NotYetProbed));
    endpoint.live.set_health(Health::Healthy);
    assert_eq!(verdict(Lifecycle::Serving, &gold, &here), Err(Exclusion::Draining));
    endpoint.live.set_draining(false);
    assert_eq!(verdict(Lifecycle::Serving, &gold, &here), Err(Exclusion::NotAccepting));
    endpoint.live.set_accepting(true);
    assert_eq!(verdict(Lifecycle::Serving, &gold, &here), Err(Exclusion::Tried));
    assert_eq!(verdict(Lifecycle::Serving, &gold, &[]), Err(Exclusion::Labels));
    assert_eq!(verdict(Lifecycle::Serving, &Labels::new(), &[]), Err(Exclusion::NoGrpc));
    let replica = replica(&endpoint, Lifecycle::Serving);
    assert_eq!(eligible(&replica, Needs::rest(&Labels::new()), &[]), Ok(()));
}

#[test]
fn only_serving_replicas_serve() {
    let endpoint = healthy(spec("w"));
    for state in
        [Lifecycle::Absent, Lifecycle::Loading, Lifecycle::Warming, Lifecycle::Draining, Lifecycle::Failed]
    {
        let verdict = eligible(&replica(&endpoint, state), Needs::rest(&Labels::new()), &[]);
        assert_eq!(verdict, Err(Exclusion::NotServing), "{state:?}");
    }
}

#[test]
fn every_label_asked_for_must_be_there_with_its_value() {
    let carried = labels(&[("tier", "gold"), ("zone", "a")]);
    let endpoint = healthy(EndpointSpec { labels: carried, ..spec("w") });
    let replica = replica(&endpoint, Lifecycle::Serving);
    let passes = |asked: &[(&str, &str)]| eligible(&replica, Needs::rest(&labels(asked)), &[]).is_ok();
    assert!(passes(&[]));
    assert!(passes(&[("zone", "a")]));
    assert!(passes(&[("zone", "a"), ("tier", "gold")]));
    assert!(!passes(&[("zone", "b")]));
    assert!(!passes(&[("zone", "a"), ("tier", "silver")]));
    assert!(!passes(&[("rack", "a")]));
}

#[test]
fn exclusions_count_by_reason_and_list_only_what_happened() {
    let mut exclusions = Exclusions::default();
    assert_eq!(exclusions.iter().count(), 0);
    exclusions.add(Exclusion::Labels);
    exclusions.add(Exclusion::NotServing);
    exclusions.add(Exclusion::Labels);
    assert_eq!(exclusions.count(Exclusion::Labels), 2);
    assert_eq!(exclusions.count(Exclusion::Tried), 0);
    assert_eq!(exclusions.total(), 3);
    let listed: Vec<_> = exclusions.iter().collect();
    assert_eq!(listed, [(Exclusion::NotServing, 1), (Exclusion::Labels, 2)]);
}

/// One worker of a random fleet.
#[derive(Debug, Clone)]
struct Worker {
    state: Lifecycle,
    health: Health,
    draining: bool,
    accepting: bool,
    gold: bool,
    grpc: bool,
}

/// Mostly well, so that fleets with nothing and with much to choose from both turn up.
fn worker() -> impl Strategy<Value = Worker> {
    use Lifecycle::{Absent, Draining, Failed, Loading, Serving, Warming};
    let state = prop_oneof![
        4 => Just(Serving),
        1 => prop::sample::select(vec![Absent, Loading, Warming, Draining, Failed]),
    ];
    let health = prop_oneof![4 => Just(Health::Healthy), 1 => prop::sample::select(Health::ALL.to_vec())];
    let rarely = prop::bool::weighted(0.15);
    (state, health, rarely, prop::bool::weighted(0.85), any::<bool>(), any::<bool>()).prop_map(
        |(state, health, draining, accepting, gold, grpc)| Worker {
            state,
            health,
            draining,
            accepting,
            gold,
            grpc,
        },
    )
}

impl Worker {
    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let carried = if self.gold { labels(&[("tier", "gold")]) } else { Labels::new() };
        let spec = if self.grpc { spec(name) } else { without_grpc(name) };
        let endpoint = healthy(EndpointSpec { labels: carried, ..spec });
        endpoint.live.set_health(self.health);
        endpoint.live.set_draining(self.draining);
        endpoint.live.set_accepting(self.accepting);
        endpoint
    }

    fn may_serve(&self, gold_only: bool, over_grpc: bool, tried: bool) -> bool {
        self.state == Lifecycle::Serving
            && self.health == Health::Healthy
            && !self.draining
            && self.accepting
            && !tried
            && (self.gold || !gold_only)
            && (self.grpc || !over_grpc)
    }
}

proptest! {
    #[test]
    fn a_pick_takes_an_eligible_replica_exactly_when_there_is_one(
        workers in prop::collection::vec(worker(), 1..12),
        tried in prop::collection::vec(any::<Index>(), 0..4),
        gold_only: bool,
        over_grpc: bool,
        policy in prop::sample::select(Policy::ALL.to_vec()),
        random: u64,
    ) {
        let named = workers.iter().zip(0..).map(|(worker, number)| worker.endpoint(&format!("w{number:02}")));
        let endpoints: Vec<_> = named.collect();
        let members: Vec<_> =
            endpoints.iter().zip(&workers).map(|(e, w)| reported(e, &[(MODEL, 1, w.state)])).collect();
        let directory = Directory::build(&Directory::default(), &members, &settings());
        let tried: Vec<WorkerId> = tried.iter().map(|which| which.get(&endpoints).spec.id.clone()).collect();
        let asked = if gold_only { labels(&[("tier", "gold")]) } else { Labels::new() };
        let fits: Vec<bool> = endpoints
            .iter()
            .zip(&workers)
            .map(|(endpoint, worker)| worker.may_serve(gold_only, over_grpc, tried.contains(&endpoint.spec.id)))
            .collect();
        let eligible = fits.iter().filter(|fits| **fits).count() as u32;

        let needs = Needs { labels: &asked, grpc: over_grpc };
        match pool(&directory).pick(&Ask { policy, needs, tried: &tried, random }) {
            Ok((lease, decision)) => {
                let taken = endpoints.iter().position(|e| e.spec.id == lease.endpoint().spec.id).unwrap();
                prop_assert!(fits[taken], "took {:?}", workers[taken]);
                prop_assert_eq!(decision.considered, eligible);
                prop_assert_eq!(decision.excluded.total(), workers.len() as u32 - eligible);
            }
            Err(excluded) => {
                prop_assert_eq!(eligible, 0);
                prop_assert_eq!(excluded.total(), workers.len() as u32);
            }
        }
        prop_assert!(endpoints.iter().all(|e| e.live.in_flight() == 0 && e.live.dispatching() == 0));
    }
}
