//! An attempt that cannot connect, breaks or is refused is repeated on another worker; the client sees one answer.

use std::time::Duration;

use anyhow::ensure;
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;
use weir_tests::{Fault, FaultProxy, Fleet, Synthetic, WorkerSpec, eventually, infer};

use crate::load;

/// Probes so rare that only requests can find out that a worker is gone.
const RARE_PROBES: &str = "interval = \"60s\"\ntimeout = \"10s\"";

/// Workers a and b, the fault proxy before a.
async fn with_fault_proxy(width: usize) -> (Fleet, FaultProxy) {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { width, ..Synthetic::default() }).unwrap();
    let a = WorkerSpec::named("a").unwrap();
    let proxy = FaultProxy::before(a.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..a });
    builder.worker(WorkerSpec::named("b").unwrap());
    // Each in turn, so that both are asked.
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    (builder.start().await.unwrap(), proxy)
}

#[tokio::test]
async fn an_attempt_that_cannot_connect_is_repeated() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    for name in ["a", "b"] {
        builder.worker(WorkerSpec::named(name).unwrap());
    }
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    let mut fleet = builder.start().await.unwrap();
    let mut toml = fleet.gateway.toml().clone();
    toml.health = RARE_PROBES.to_owned();
    let generation = fleet.gateway.generation().await.unwrap();
    fleet.gateway.write(toml).unwrap();
    eventually("rare probes", async || {
        ensure!(fleet.gateway.generation().await? > generation);
        Ok(())
    })
    .await
    .unwrap();
    fleet.worker("a").unwrap().process().kill().unwrap();
    for _ in 0..20 {
        let reply = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
        assert_eq!((reply.status, reply.worker()), (200, "b"), "{reply}");
    }
}

#[tokio::test]
async fn an_attempt_that_breaks_before_its_answer_is_repeated() {
    let (fleet, proxy) = with_fault_proxy(4).await;
    for fault in [Fault::Reset, Fault::Close, Fault::CutAfter(0), Fault::CutAfter(20)] {
        let struck = proxy.struck();
        proxy.set(fault);
        for _ in 0..6 {
            let reply = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 4)).await;
            let reply = reply.unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
            assert_eq!((reply.status, reply.worker()), (200, "b"), "{fault:?}: {reply}");
        }
        assert!(proxy.struck() > struck, "{fault:?} never struck");
    }
    proxy.set(Fault::None);
    let run = load::start(fleet.client(), 200.0);
    load::more(&run, 50).await;
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    assert_eq!(report.workers.len(), 2, "the worker is used again: {report}");
}

#[tokio::test]
async fn a_worker_that_stays_silent_costs_its_requests_no_more_than_their_deadline() {
    let (fleet, proxy) = with_fault_proxy(4).await;
    proxy.set(Fault::Stall);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let body = Full::from(infer::rows(1, 4).to_string());
        let request = Request::post(infer::path("m")).header("x-timeout-ms", "1000").body(body).unwrap();
        let reply = fleet.client().send(request).await.unwrap();
        statuses.push((reply.status, reply.header("weir-reason").to_owned()));
    }
    statuses.sort();
    let (answered, late) = ((200, String::new()), (504, "deadline".to_owned()));
    assert_eq!(statuses, [answered.clone(), answered, late.clone(), late], "each in turn");
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_it_began_is_not_repeated_and_not_taken_for_whole() {
    let (fleet, proxy) = with_fault_proxy(10_000).await;
    // Beyond any response head, within the body of ten thousand values.
    proxy.set(Fault::CutAfter(2_000));
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..8 {
        match fleet.client().post_json(&infer::path("m"), &infer::rows(1, 10_000)).await {
            Ok(reply) => {
                assert_eq!((reply.status, reply.worker()), (200, "b"), "{reply}");
                whole += 1;
            }
            Err(_) => broken += 1,
        }
    }
    assert_eq!((whole, broken, proxy.struck()), (4, 4, 4));
}

#[tokio::test]
async fn a_refusal_is_repeated_where_there_is_room() {
    let mut builder = Fleet::builder().unwrap();
    let slow = Synthetic {
        base: Duration::from_millis(100),
        max_batch_size: 1,
        max_queue_size: 1,
        ..Synthetic::default()
    };
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let small = weir_tests::Repository::create(builder.repository.folder().join("../small")).unwrap();
    small.add("m", &slow).unwrap();
    builder.worker(WorkerSpec {
        repository: Some(small.folder().to_owned()),
        ..WorkerSpec::named("full").unwrap()
    });
    builder.worker(WorkerSpec::named("roomy").unwrap());
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    let fleet = builder.start().await.unwrap();
    let run = load::start(fleet.client(), 200.0);
    load::more(&run, 300).await;
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    // In turn would be 150 each; the slow one manages 10 a second.
    let full = report.workers.get("full").copied().unwrap_or_default();
    assert!(full > 0 && full < 100, "{report}");
    let refusals =
        weir_tests::metrics::value(fleet.gateway.admin(), "weir_gateway_refusals_total", &["queue-full"]);
    assert!(refusals.await.unwrap() > 0.0);
}

#[tokio::test]
async fn a_request_that_outlives_a_rolling_restart_is_repeated_on_the_worker_that_came_back() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let b = WorkerSpec::named("b").unwrap();
    let proxy = FaultProxy::before(b.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..b });
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let a = fleet.worker("a").unwrap().process();
    a.terminate().unwrap();
    a.ended().await.unwrap();
    // Begins while only b is there, and stays with it.
    proxy.set(Fault::Stall);
    let (client, mut request) = (fleet.client(), JoinSet::new());
    request.spawn(async move { client.post_json(&infer::path("m"), &infer::rows(1, 4)).await });
    eventually("the request at b", async || {
        ensure!(proxy.struck() == 1);
        Ok(())
    })
    .await
    .unwrap();
    fleet.worker("a").unwrap().restart().unwrap();
    fleet.worker("a").unwrap().ready().await.unwrap();
    fleet.ready().await.unwrap();
    proxy.cut_stalled();
    let reply = request.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((reply.status, reply.worker()), (200, "a"), "{reply}");
}
