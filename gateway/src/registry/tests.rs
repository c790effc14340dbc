//! What survives a reload, what publishes a snapshot, and that a drain is airtight.

use std::{net::SocketAddr, time::Duration};

use weir_protocol::{Lifecycle, LoadReport, ModelName};
use weir_routing::{Ask, Exclusion, Exclusions, Labels, Lease, Needs, Policy, Unresolved};

use super::*;
use crate::tests::{TWO_WORKERS, config, name, report, running, until};

const SERVING: [(&str, u64, Lifecycle); 1] = [("digits", 1, Lifecycle::Serving)];

fn address(registry: &Registry, worker: &str) -> SocketAddr {
    registry.snapshot().worker(&name(worker)).unwrap().0.spec.address
}

/// Has the worker report and waits until that was taken in.
async fn hear(registry: &Registry, worker: &str, report: LoadReport) {
    let (seq, at) = (report.seq, address(registry, worker));
    registry
        .send(Event::Report { worker: name(worker), address: at, report: Arc::new(report) })
        .await
        .unwrap();
    let sighting = Arc::clone(registry.snapshot().worker(&name(worker)).unwrap().1);
    until("the report was taken in", || sighting.report().is_some_and(|last| last.seq == seq)).await;
    // Snapshots are published after all waiting events: one more round trip, and it is visible.
    registry.undrain(&name("nobody")).await.unwrap_err();
}

async fn miss(registry: &Registry, worker: &str) {
    let (worker, address) = (name(worker), address(registry, worker));
    registry.send(Event::ProbeFailed { worker, address, failure: ProbeFailure::Status(500) }).await.unwrap();
    registry.undrain(&name("nobody")).await.unwrap_err();
    registry.undrain(&name("nobody")).await.unwrap_err();
}

fn pick(registry: &Registry, model: &str) -> Result<Lease, Exclusions> {
    let model: ModelName = model.parse().unwrap();
    let labels = Labels::new();
    let snapshot = registry.snapshot();
    let (_, pool) = snapshot.directory.resolve(&model, None, Needs::rest(&labels)).unwrap();
    let ask = Ask { policy: Policy::RoundRobin, needs: Needs::rest(&labels), tried: &[], random: 0 };
    pool.pick(&ask).map(|(lease, _)| lease)
}

fn unresolved(registry: &Registry, model: &str) -> Option<Unresolved> {
    registry.snapshot().directory.resolve(&model.parse().unwrap(), None, Needs::rest(&Labels::new())).err()
}

fn rebuilds(registry: &Registry, cause: &str) -> String {
    let series = format!("weir_gateway_snapshot_rebuilds_total{{cause=\"{cause}\"}} ");
    let page = registry.telemetry().render(&registry.gauges());
    page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
}

#[tokio::test]
async fn a_reported_model_becomes_routable_and_an_unknown_name_unknown_only_when_all_have_settled() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    assert!(!registry.ready());
    assert_eq!(unresolved(&registry, "digits"), Some(Unresolved::Starting));

    hear(&registry, "a", report(1, &SERVING)).await;
    assert_eq!(pick(&registry, "digits").unwrap().endpoint().spec.id, name("a"));
    assert_eq!(unresolved(&registry, "other"), Some(Unresolved::Starting));
    assert!(!registry.ready());

    miss(&registry, "b").await;
    assert_eq!(unresolved(&registry, "other"), Some(Unresolved::UnknownModel));
    assert!(registry.ready());
    registry.begin_stop();
    assert!(!registry.ready());
}

#[tokio::test]
async fn a_worker_added_to_a_ready_gateway_leaves_it_ready() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    let three = format!("{TWO_WORKERS}[[worker]]\nname = \"c\"\nurl = \"http://127.0.0.1:1003\"\n");
    hear(&registry, "a", report(1, &SERVING)).await;
    registry.apply(config(&three)).await.unwrap();
    assert!(!registry.ready(), "no reload makes up for a worker that was not heard of");
    registry.apply(config(TWO_WORKERS)).await.unwrap();
    miss(&registry, "b").await;
    assert!(registry.ready());
    registry.apply(config(&three)).await.unwrap();
    assert!(registry.ready());
    assert_eq!(unresolved(&registry, "other"), Some(Unresolved::Starting), "the new worker may have it");
}

#[tokio::test]
async fn only_a_report_that_changes_what_can_be_routed_publishes_a_snapshot() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    let before = registry.snapshot_full();
    hear(&registry, "a", report(2, &SERVING)).await;
    assert!(Arc::ptr_eq(&before, &registry.snapshot_full()));
    hear(&registry, "a", report(3, &[("digits", 1, Lifecycle::Draining)])).await;
    assert!(!Arc::ptr_eq(&before, &registry.snapshot_full()));
    assert_eq!(pick(&registry, "digits").unwrap_err().count(Exclusion::NotServing), 1);
}

#[tokio::test]
async fn a_report_that_was_overtaken_is_dropped_unless_the_worker_began_a_new_life() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(7, &SERVING)).await;
    let old = Event::Report {
        worker: name("a"),
        address: address(&registry, "a"),
        report: Arc::new(report(6, &[("digits", 1, Lifecycle::Failed)])),
    };
    registry.send(old).await.unwrap();
    hear(&registry, "a", report(8, &SERVING)).await;
    assert!(pick(&registry, "digits").is_ok());

    let reborn = LoadReport { epoch: 2, ..report(1, &[("digits", 1, Lifecycle::Loading)]) };
    hear(&registry, "a", reborn).await;
    assert_eq!(pick(&registry, "digits").unwrap_err().count(Exclusion::NotServing), 1);
}

#[tokio::test]
async fn a_worker_that_says_it_accepts_nothing_gets_nothing() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", LoadReport { accepting: false, ..report(1, &SERVING) }).await;
    assert_eq!(pick(&registry, "digits").unwrap_err().count(Exclusion::NotAccepting), 1);
    hear(&registry, "a", report(2, &SERVING)).await;
    assert!(pick(&registry, "digits").is_ok());
}

#[tokio::test]
async fn failed_probes_take_a_worker_out_and_its_names_stay_known_until_it_is_back() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    miss(&registry, "a").await;
    assert!(pick(&registry, "digits").is_ok(), "one failure is not enough");
    miss(&registry, "a").await;
    assert_eq!(pick(&registry, "digits").unwrap_err().count(Exclusion::Unhealthy), 1);
    let snapshot = registry.snapshot_full();
    let (endpoint, sighting) = snapshot.worker(&name("a")).unwrap();
    assert_eq!(endpoint.live.health(), Health::Unhealthy);
    assert_eq!(sighting.failure().as_deref(), Some(&ProbeFailure::Status(500)));

    hear(&registry, "a", report(2, &SERVING)).await;
    assert!(pick(&registry, "digits").is_err(), "two good probes bring it back");
    hear(&registry, "a", report(3, &SERVING)).await;
    assert!(pick(&registry, "digits").is_ok());
    assert_eq!(sighting.failure(), None);
}

#[tokio::test]
async fn a_failed_connect_counts_as_a_failed_probe_and_has_the_worker_probed_at_once() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    registry.report_connect_failure(&name("a"));
    registry.report_connect_failure(&name("a"));
    let snapshot = registry.snapshot_full();
    let (endpoint, sighting) = snapshot.worker(&name("a")).unwrap();
    sighting.woken().await;
    until("two of them make it unhealthy", || endpoint.live.health() == Health::Unhealthy).await;
}

#[tokio::test]
async fn hints_beyond_the_queue_are_dropped_and_counted_and_never_wait() {
    let (registry, _writer) = Registry::new(config(TWO_WORKERS), Arc::new(Telemetry::new().unwrap()));
    for _ in 0..EVENT_QUEUE + 3 {
        registry.report_connect_failure(&name("a"));
    }
    let page = registry.telemetry().render(&registry.gauges());
    assert!(page.contains("weir_gateway_connect_hints_dropped_total 3\n"), "{page}");
}

#[tokio::test]
async fn events_that_wait_together_are_published_as_one_snapshot() {
    let (registry, writer) = Registry::new(config(TWO_WORKERS), Arc::new(Telemetry::new().unwrap()));
    for (seq, state) in [(1, Lifecycle::Loading), (2, Lifecycle::Warming), (3, Lifecycle::Serving)] {
        for worker in ["a", "b"] {
            let report = Arc::new(report(seq, &[("digits", 1, state)]));
            let address = address(&registry, worker);
            registry.send(Event::Report { worker: name(worker), address, report }).await.unwrap();
        }
    }
    let tasks = crate::task::Tasks::new();
    tasks.spawn("registry", writer.run(tasks.stop_signal()));
    registry.apply(config(TWO_WORKERS)).await.unwrap();
    assert!(pick(&registry, "digits").is_ok());
    assert_eq!(
        (rebuilds(&registry, "report"), rebuilds(&registry, "config")),
        ("0".to_owned(), "1".to_owned())
    );
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_a_worker_whose_name_and_address_stay() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    let lease = pick(&registry, "digits").unwrap();
    let wait = DrainWait { dispatching: Duration::ZERO, in_flight: Duration::ZERO };
    registry.drain(&name("a"), wait).await.unwrap();

    let heavier = TWO_WORKERS.replace("1001\"", "1001\"\nweight = 2.5");
    assert_eq!(registry.apply(config(&heavier)).await, Ok(2));
    let snapshot = registry.snapshot_full();
    let (endpoint, _) = snapshot.worker(&name("a")).unwrap();
    assert_eq!((snapshot.generation, endpoint.spec.weight), (2, 2.5));
    assert_eq!(endpoint.live.health(), Health::Healthy);
    assert!(endpoint.live.draining(), "a drain outlives a reload");
    assert_eq!(endpoint.live.in_flight(), 1);
    drop(lease);
    assert_eq!(endpoint.live.in_flight(), 0);
    let (_, model) = snapshot.directory.models().next().unwrap();
    assert_eq!(model.versions.values().next().unwrap().replicas[0].live.in_flight(), 0);
}

#[tokio::test]
async fn a_worker_at_another_address_starts_unknown_and_events_of_the_old_address_are_dropped() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    let old = address(&registry, "a");
    registry.apply(config(&TWO_WORKERS.replace("1001", "1003"))).await.unwrap();
    let late = Event::Report { worker: name("a"), address: old, report: Arc::new(report(2, &SERVING)) };
    registry.send(late).await.unwrap();
    registry.apply(config(&TWO_WORKERS.replace("1001", "1003"))).await.unwrap();
    let snapshot = registry.snapshot_full();
    let (endpoint, sighting) = snapshot.worker(&name("a")).unwrap();
    assert_eq!(endpoint.live.health(), Health::Unknown);
    assert!(sighting.report().is_none());
}

#[tokio::test]
async fn a_worker_of_another_kind_starts_unknown_and_one_with_another_grpc_address_stays() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    let health = || registry.snapshot().worker(&name("a")).unwrap().0.live.health();
    let with = |line: &str| config(&TWO_WORKERS.replace("1001\"", &format!("1001\"\n{line}")));
    registry.apply(with("grpc_url = \"http://127.0.0.1:1009\"")).await.unwrap();
    assert_eq!(health(), Health::Healthy);
    assert_eq!(registry.snapshot().endpoints[0].spec.grpc.as_ref().unwrap().address.port(), 1009);
    registry.apply(with("kind = \"oip\"")).await.unwrap();
    assert_eq!(health(), Health::Unknown);
}

#[tokio::test]
async fn a_worker_that_begins_to_number_its_versions_is_seen_at_once() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    for (seq, versioned) in [(1, false), (2, true)] {
        let mut report = report(seq, &SERVING);
        report.models[0].versioned = versioned;
        hear(&registry, "a", report).await;
        let snapshot = registry.snapshot();
        let model = snapshot.directory.model("digits").unwrap();
        assert_eq!(model.versions.values().next().unwrap().replicas[0].versioned, versioned);
    }
}

#[tokio::test]
async fn a_reload_follows_limits_thresholds_and_removed_workers() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    hear(&registry, "a", report(1, &SERVING)).await;
    let held = registry.admission().admit();
    let watching = registry.watches().admit();
    let other = TWO_WORKERS.split("[[worker]]\nname = \"b\"").next().unwrap().replace(
        "version = 1",
        "version = 1\n[limits]\nin_flight = 1\nwatches = 1\n[health]\nunhealthy_after = 1",
    );
    registry.apply(config(&other)).await.unwrap();
    assert!(held.is_some() && registry.admission().admit().is_none(), "the limit is 1 now");
    assert!(watching.is_some() && registry.watches().admit().is_none(), "and this one as well");
    assert!(registry.snapshot().worker(&name("b")).is_none());
    assert!(registry.ready(), "a worker that is gone need not report");
    miss(&registry, "a").await;
    assert_eq!(registry.snapshot().endpoints[0].live.health(), Health::Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_until_what_was_picked_before_is_handed_over() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    let a = name("a");
    hear(&registry, "a", report(1, &SERVING)).await;
    let mut lease = pick(&registry, "digits").unwrap();
    let second = Duration::from_secs(1);

    let wait = DrainWait { dispatching: second, in_flight: second };
    let drained = registry.drain(&a, wait).await.unwrap();
    assert_eq!(drained, Drained { dispatching: 1, in_flight: 1 }, "it is not handed over yet");
    assert_eq!(pick(&registry, "digits").unwrap_err().count(Exclusion::Draining), 1);

    lease.mark_sent();
    let drained = registry.drain(&a, wait).await.unwrap();
    assert_eq!(drained, Drained { dispatching: 0, in_flight: 1 });
    let begun = tokio::time::Instant::now();
    let answered = async {
        tokio::time::sleep(second / 2).await;
        drop(lease);
    };
    let (drained, ()) = tokio::join!(registry.drain(&a, wait), answered);
    assert_eq!(drained.unwrap(), Drained { dispatching: 0, in_flight: 0 });
    assert!(begun.elapsed() < second, "it must not wait longer than the request takes");

    registry.undrain(&a).await.unwrap();
    assert!(pick(&registry, "digits").is_ok());
}

#[tokio::test]
async fn a_worker_that_is_not_registered_cannot_be_drained() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    let wait = DrainWait { dispatching: Duration::ZERO, in_flight: Duration::ZERO };
    let refused = registry.drain(&name("z"), wait).await;
    assert_eq!(refused, Err(RegistryError::UnknownWorker(name("z"))));
}

#[tokio::test]
async fn open_requests_count_until_their_guard_is_gone() {
    let (registry, _writer) = Registry::new(config(TWO_WORKERS), Arc::new(Telemetry::new().unwrap()));
    let (first, second) = (registry.open_request(), registry.open_request());
    drop(first);
    assert_eq!((registry.open_requests(), registry.gauges().open), (1, 1));
    drop(second);
    assert_eq!(registry.open_requests(), 0);
}
