//! SIGTERM: whoever is asked to stop finishes what it has accepted, and nothing is lost.

use std::time::Duration;

use anyhow::ensure;
use weir_tests::{Fleet, Synthetic, WorkerSpec, eventually};

use crate::load;

/// Slow enough that requests are always in flight when the signal comes.
const MODEL: Synthetic = Synthetic {
    width: 4,
    base: Duration::from_millis(60),
    max_batch_size: 64,
    max_queue_size: 4096,
    versions: 1,
    load_time: Duration::ZERO,
};

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_under_load_loses_nothing() {
    let mut fleet = Fleet::serving(&MODEL, &["a", "b"]).await.unwrap();
    let run = load::start(fleet.client(), 300.0);
    for name in ["a", "b"] {
        load::more(&run, 200).await;
        let worker = fleet.worker(name).unwrap();
        eventually("requests in flight at the worker", async || {
            ensure!(worker.in_flight().await? > 0);
            Ok(())
        })
        .await
        .unwrap();
        worker.process().terminate().unwrap();
        let status = worker.process().ended().await.unwrap();
        assert!(status.success(), "{status}");
        load::more(&run, 100).await;
        worker.restart().unwrap();
        worker.ready().await.unwrap();
        fleet.ready().await.unwrap();
    }
    run.stop();
    load::none_lost(&run.finish().await);
}

#[tokio::test]
async fn a_gateway_that_is_asked_to_stop_under_load_loses_nothing() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &MODEL).unwrap();
    for name in ["a", "b"] {
        builder.worker(WorkerSpec::named(name).unwrap());
    }
    // Closing a listener resets connections that it has not accepted yet: the time to look away must be longer than
    // a busy machine takes to accept.
    builder.gateway.gateway = "threads = 1\ndrain_delay = \"3s\"\ndrain_timeout = \"20s\"".to_owned();
    let mut fleet = builder.start().await.unwrap();
    let run = load::start(fleet.client(), 300.0);
    load::more(&run, 200).await;
    fleet.gateway.process().terminate().unwrap();
    // As what stands in front would: look away once it says that it is not ready.
    let admin = fleet.gateway.admin();
    eventually("the gateway not ready any more", async || {
        let reply = admin.get("/readyz").await;
        ensure!(reply.is_ok_and(|reply| reply.status == 503), "still ready, or gone already");
        Ok(())
    })
    .await
    .unwrap();
    assert!(run.progress().in_flight > 0, "nothing was in flight");
    run.stop();
    load::none_lost(&run.finish().await);
    let status = fleet.gateway.process().ended().await.unwrap();
    assert!(status.success(), "{status}");
}
