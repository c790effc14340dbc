//! What names mean, which version an unversioned request gets, and what survives a rebuild.
//!
//! Counts are made visible by holding leases across rebuilds.

use proptest::prelude::*;
use weir_protocol::Lifecycle::{Absent, Failed, Loading, Serving};

use super::*;
use crate::{
    EndpointKind, EndpointSpec, Exclusion, Health, Labels, Lease, ReplicaLive,
    fixture::{
        MODEL, ask, healthy, id, labels, name, pool, report, reported, serving, settings, silent, spec,
        version,
    },
};

fn build(members: &[Member]) -> Directory {
    Directory::build(&Directory::default(), members, &settings())
}

fn resolve<'a>(directory: &'a Directory, model: &str, number: Option<u64>) -> Result<&'a Pool, Unresolved> {
    directory.resolve(&name(model), number.map(version), Needs::rest(&Labels::new())).map(|(_, pool)| pool)
}

/// The version that an unversioned request for [`MODEL`] gets.
fn current(directory: &Directory) -> Result<u64, Unresolved> {
    resolve(directory, MODEL, None).map(|pool| pool.version.number())
}

fn pick(pool: &Pool) -> Lease {
    pool.pick(&ask(Policy::LeastConnections, &Labels::new(), 0)).unwrap().0
}

#[test]
fn an_unknown_model_is_unknown_only_once_every_member_is_settled() {
    let (a, b) = (healthy(spec("a")), healthy(spec("b")));
    assert_eq!(resolve(&Directory::default(), "other", None).unwrap_err(), Unresolved::Starting);
    let a = reported(&a, &[(MODEL, 1, Serving)]);
    let waiting = build(&[a.clone(), silent(&b, false)]);
    assert_eq!(resolve(&waiting, "other", None).unwrap_err(), Unresolved::Starting);
    assert!(resolve(&waiting, MODEL, None).is_ok());
    let settled = build(&[a, silent(&b, true)]);
    assert_eq!(resolve(&settled, "other", None).unwrap_err(), Unresolved::UnknownModel);
}

#[test]
fn an_unknown_version_names_the_known_ones_once_every_member_is_settled() {
    let (a, b) = (healthy(spec("a")), healthy(spec("b")));
    let a = reported(&a, &[(MODEL, 3, Serving), (MODEL, 1, Absent)]);
    let waiting = build(&[a.clone(), silent(&b, false)]);
    assert_eq!(resolve(&waiting, MODEL, Some(2)).unwrap_err(), Unresolved::Starting);
    let settled = build(&[a]);
    let known = vec![version(1), version(3)];
    assert_eq!(resolve(&settled, MODEL, Some(2)).unwrap_err(), Unresolved::UnknownVersion { known });
}

#[test]
fn a_model_that_never_served_is_known_but_not_ready() {
    let member = reported(&healthy(spec("a")), &[(MODEL, 1, Loading), (MODEL, 2, Failed)]);
    let directory = build(&[member]);
    assert_eq!(current(&directory), Err(Unresolved::NotReady));
    // Asked for by number, the pool is there and says why nothing can be picked from it.
    let excluded = resolve(&directory, MODEL, Some(2))
        .unwrap()
        .pick(&ask(Policy::RoundRobin, &Labels::new(), 0))
        .unwrap_err();
    assert_eq!(excluded.iter().collect::<Vec<_>>(), [(Exclusion::NotServing, 1)]);
}

#[test]
fn without_a_version_the_highest_eligible_one_is_meant() {
    let (a, b) = (healthy(spec("a")), healthy(spec("b")));
    let directory = build(&[
        reported(&a, &[(MODEL, 1, Serving), (MODEL, 9, Serving), (MODEL, 10, Loading)]),
        reported(&b, &[(MODEL, 1, Serving)]),
    ]);
    assert_eq!(current(&directory), Ok(9));
    a.live.set_draining(true);
    assert_eq!(current(&directory), Ok(1));
}

#[test]
fn the_highest_version_is_chosen_among_workers_that_carry_the_labels() {
    let gold = labels(&[("tier", "gold")]);
    let a = healthy(EndpointSpec { labels: gold.clone(), ..spec("a") });
    let directory =
        build(&[reported(&a, &[(MODEL, 1, Serving)]), reported(&healthy(spec("b")), &[(MODEL, 2, Serving)])]);
    assert_eq!(current(&directory), Ok(2));
    let (_, found) = directory.resolve(&name(MODEL), None, Needs::rest(&gold)).unwrap();
    assert_eq!(found.version, version(1));
}

#[test]
fn a_grpc_call_means_the_highest_version_that_it_can_reach() {
    let other = healthy(EndpointSpec { grpc: None, ..spec("a") });
    let directory = build(&[
        reported(&other, &[(MODEL, 2, Serving)]),
        reported(&healthy(spec("b")), &[(MODEL, 1, Serving)]),
    ]);
    assert_eq!(current(&directory), Ok(2));
    let needs = Needs { labels: &Labels::new(), grpc: true };
    assert_eq!(directory.resolve(&name(MODEL), None, needs).unwrap().1.version, version(1));
}

#[test]
fn with_nothing_eligible_the_highest_that_ever_served_is_meant() {
    let a = healthy(spec("a"));
    let mut directory =
        build(&[reported(&a, &[(MODEL, 1, Serving), (MODEL, 2, Serving), (MODEL, 3, Failed)])]);
    a.live.set_health(Health::Unhealthy);
    assert_eq!(current(&directory), Ok(2));
    // The worker restarts and begins to load: version 2 is still the one that was there.
    for _ in 0..2 {
        let reloading = [reported(&a, &[(MODEL, 1, Loading), (MODEL, 2, Loading), (MODEL, 3, Loading)])];
        directory = Directory::build(&directory, &reloading, &settings());
        assert_eq!(current(&directory), Ok(2));
    }
}

#[test]
fn known_names_stay_while_their_worker_is_silent() {
    let a = healthy(spec("a"));
    let known = build(&[reported(&a, &[(MODEL, 1, Serving), ("other", 4, Loading)])]);
    a.live.set_health(Health::Unhealthy);
    let silent = Directory::build(&known, &[silent(&a, true)], &settings());
    let models: Vec<_> = silent.models().map(|(name, model)| (name.as_str(), model.versions.len())).collect();
    assert_eq!(models, [(MODEL, 1), ("other", 1)]);
    assert_eq!(current(&silent), Ok(1));
    assert_eq!(resolve(&silent, "other", Some(4)).unwrap().replicas[0].state, Loading);
}

#[test]
fn names_go_with_the_report_that_no_longer_has_them_and_with_the_last_member() {
    let (a, b) = (healthy(spec("a")), healthy(spec("b")));
    let known = build(&[reported(&a, &[(MODEL, 1, Serving)]), reported(&b, &[("other", 1, Serving)])]);
    let next = Directory::build(&known, &[reported(&a, &[])], &settings());
    assert_eq!(next.models().count(), 0);
    assert_eq!(current(&next), Err(Unresolved::UnknownModel));
}

#[test]
fn counts_survive_a_rebuild_for_a_worker_of_the_same_name_and_address() {
    let a = healthy(spec("a"));
    let first = serving(&Directory::default(), &[Arc::clone(&a)]);
    let lease = pick(pool(&first));
    // Another registration of the same worker: weight and labels differ, name and address do not.
    let changed = EndpointSpec { weight: 3.0, labels: labels(&[("zone", "b")]), ..spec("a") };
    let changed = Arc::new(Endpoint { spec: changed, live: Arc::clone(&a.live) });
    let second = serving(&first, &[healthy(spec("0")), changed, healthy(spec("b"))]);
    let replica = pool(&second).on(&id("a")).unwrap();
    assert_eq!((replica.live.in_flight(), replica.weight()), (1, 3.0));
    assert_eq!(pool(&second).on(&id("b")).unwrap().live.in_flight(), 0);
    drop(lease);
    assert_eq!(replica.live.in_flight(), 0);
}

#[test]
fn a_foreign_worker_without_version_numbers_stays_so_while_it_is_silent() {
    let a = healthy(EndpointSpec { kind: EndpointKind::Foreign, ..spec("a") });
    let mut said = (*report(&a, &[(MODEL, 1, Serving)])).clone();
    said.models[0].versioned = false;
    let heard = Member { endpoint: Arc::clone(&a), report: Some(Arc::new(said)), settled: true };
    let known = Directory::build(&Directory::default(), &[heard], &settings());
    let later = Directory::build(&known, &[silent(&a, true)], &settings());
    for directory in [&known, &later] {
        assert!(!pool(directory).replicas[0].versioned);
    }
    let counted = serving(&later, &[healthy(spec("a"))]);
    assert!(
        !Arc::ptr_eq(&pool(&later).replicas[0].live, &pool(&counted).replicas[0].live),
        "another process"
    );
}

#[test]
fn counts_start_anew_for_a_worker_at_another_address() {
    let first = serving(&Directory::default(), &[healthy(spec("a"))]);
    let lease = pick(pool(&first));
    let moved = || EndpointSpec { address: ([127, 0, 0, 1], 9001).into(), ..spec("a") };
    let second = serving(&first, &[healthy(moved())]);
    assert_eq!(pool(&second).replicas[0].live.in_flight(), 0);
    // Its models stay known although the new address has said nothing yet; nothing is sent there until it has.
    let unprobed = Arc::new(Endpoint::new(moved()));
    let third = Directory::build(&first, &[silent(&unprobed, false)], &settings());
    assert_eq!(pool(&third).replicas[0].live.in_flight(), 0);
    let excluded = pool(&third).pick(&ask(Policy::RoundRobin, &Labels::new(), 0)).unwrap_err();
    assert_eq!(excluded.count(Exclusion::NotYetProbed), 1);
    drop(lease);
}

#[test]
fn counts_of_versions_are_kept_apart() {
    let a = healthy(spec("a"));
    let both = [reported(&a, &[(MODEL, 1, Serving), (MODEL, 2, Serving)])];
    let first = build(&both);
    let _lease = pick(resolve(&first, MODEL, Some(2)).unwrap());
    let second = Directory::build(&first, &both, &settings());
    let in_flight = |number| resolve(&second, MODEL, Some(number)).unwrap().replicas[0].live.in_flight();
    assert_eq!((in_flight(1), in_flight(2)), (0, 1));
    assert_eq!(a.live.in_flight(), 1);
}

#[test]
fn a_worker_holds_a_version_once_whatever_it_reports() {
    let member = reported(&healthy(spec("a")), &[(MODEL, 1, Serving), (MODEL, 1, Failed)]);
    let directory = build(&[member]);
    assert_eq!(pool(&directory).replicas.len(), 1);
    assert_eq!(pool(&directory).replicas[0].state, Serving);
}

#[test]
fn replicas_stand_in_the_order_of_worker_names() {
    let endpoints: Vec<_> = ["c", "a", "b"].map(|worker| healthy(spec(worker))).into();
    let directory = serving(&Directory::default(), &endpoints);
    let names: Vec<_> = pool(&directory).replicas.iter().map(|r| r.endpoint.spec.id.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(["a", "b", "c"].iter().all(|worker| pool(&directory).on(&id(worker)).is_some()));
    assert!(pool(&directory).on(&id("d")).is_none());
}

#[test]
fn a_model_has_its_own_policy_or_the_default() {
    let member = reported(&healthy(spec("a")), &[(MODEL, 1, Serving), ("other", 1, Serving)]);
    let settings = DirectorySettings { per_model: [(name(MODEL), Policy::RoundRobin)].into(), ..settings() };
    let directory = Directory::build(&Directory::default(), &[member], &settings);
    let policies: Vec<_> = directory.models().map(|(name, model)| (name.as_str(), model.policy)).collect();
    assert_eq!(policies, [(MODEL, Policy::RoundRobin), ("other", Policy::LeastConnections)]);
}

#[test]
fn a_closed_door_knows_listed_models_only_and_waits_for_no_other() {
    let models = [(MODEL, 1, Serving), ("listed", 1, Serving), ("hidden", 1, Serving)];
    let a = healthy(spec("a"));
    let settings = DirectorySettings {
        per_model: [(name(MODEL), Policy::RoundRobin)].into(),
        listed_only: true,
        listed: [name("listed")].into(),
        ..settings()
    };
    let open = Directory::build(&Directory::default(), &[reported(&a, &models)], &settings);
    assert_eq!(open.models().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [MODEL, "listed"]);
    let waiting = Directory::build(&Directory::default(), &[silent(&a, false)], &settings);
    assert_eq!(resolve(&waiting, MODEL, None).unwrap_err(), Unresolved::Starting);
    assert_eq!(resolve(&waiting, "listed", None).unwrap_err(), Unresolved::Starting);
    assert_eq!(resolve(&waiting, "hidden", None).unwrap_err(), Unresolved::UnknownModel);
}

#[test]
fn eligible_counts_workers_that_carry_the_labels_and_may_serve() {
    let gold = labels(&[("tier", "gold")]);
    let golden = |worker| healthy(EndpointSpec { labels: gold.clone(), ..spec(worker) });
    let endpoints = [golden("a"), golden("b"), healthy(spec("c"))];
    let directory = serving(&Directory::default(), &endpoints);
    let eligible = |labels: &Labels| pool(&directory).eligible(Needs::rest(labels));
    assert_eq!((eligible(&Labels::new()), eligible(&gold)), (3, 2));
    endpoints[0].live.set_accepting(false);
    assert_eq!((eligible(&Labels::new()), eligible(&gold)), (2, 1));
}

/// One worker in one step of a random story: not there, or at one of two ports with a report or without.
type Scene = Option<(u16, Option<Vec<(&'static str, u64)>>)>;

/// Where a replica is and the counts it has, by worker, model and version.
type Known = BTreeMap<(WorkerId, ModelName, Version), (u16, Arc<ReplicaLive>)>;

fn scene() -> impl Strategy<Value = Scene> {
    let models = prop::sample::subsequence(vec![("a", 1), ("a", 2), ("b", 1)], 0..=3);
    prop::option::weighted(0.8, (9000_u16..=9001, prop::option::weighted(0.7, models)))
}

fn known(directory: &Directory) -> Known {
    let pools = directory.models().flat_map(|(_, model)| model.versions.values());
    let replicas = pools.flat_map(|pool| &pool.replicas);
    let entry = |replica: &Replica| {
        let spec = &replica.endpoint.spec;
        let key = (spec.id.clone(), replica.model.clone(), replica.version);
        (key, (spec.address.port(), Arc::clone(&replica.live)))
    };
    replicas.map(entry).collect()
}

proptest! {
    #[test]
    fn every_rebuild_keeps_exactly_the_names_and_counts_that_it_should(
        story in prop::collection::vec(prop::collection::vec(scene(), 4), 1..8),
    ) {
        let mut directory = Directory::default();
        for step in story {
            let before = known(&directory);
            let mut expected: Vec<(WorkerId, ModelName, Version)> = Vec::new();
            let mut members = Vec::new();
            for (number, scene) in step.into_iter().enumerate() {
                let Some((port, models)) = scene else { continue };
                let worker = format!("w{number}");
                let address = ([127, 0, 0, 1], port).into();
                let endpoint = healthy(EndpointSpec { address, ..spec(&worker) });
                match models {
                    Some(models) => {
                        expected.extend(models.iter().map(|(m, n)| (id(&worker), name(m), version(*n))));
                        let serving: Vec<_> = models.iter().map(|(m, n)| (*m, *n, Serving)).collect();
                        members.push(reported(&endpoint, &serving));
                    }
                    None => {
                        expected.extend(before.keys().filter(|(on, ..)| on.as_str() == worker).cloned());
                        members.push(silent(&endpoint, true));
                    }
                }
            }
            directory = Directory::build(&directory, &members, &settings());
            let after = known(&directory);
            prop_assert_eq!(after.keys().cloned().collect::<Vec<_>>(), expected);
            for (key, (port, live)) in &after {
                let kept = before.get(key).is_some_and(|(_, was)| Arc::ptr_eq(was, live));
                let stayed = before.get(key).is_some_and(|(was, _)| was == port);
                prop_assert_eq!(kept, stayed, "{:?}", key);
            }
        }
    }
}
