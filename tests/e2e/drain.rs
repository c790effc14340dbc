//! Drain: after the call has returned no request reaches the worker; nothing is lost; undrain brings it back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::{Fleet, Gateway, Synthetic, eventually};

use crate::load;

/// Requests that the gateway has sent to a worker's replica of `m` so far.
async fn sent(gateway: &Gateway, worker: &str) -> Result<u64> {
    let model = gateway.admin().get("/v1/models/m").await?.json()?;
    let replicas = model["versions"][0]["replicas"].as_array().context("no replicas")?;
    let replica = replicas.iter().find(|replica| replica["worker"] == worker).context("no such replica")?;
    replica["sent"].as_u64().context("no count")
}

#[tokio::test]
async fn no_request_reaches_a_worker_after_its_drain_has_returned() {
    let model = Synthetic { base: Duration::from_millis(20), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&model, &["a", "b", "c"]).await.unwrap();
    let run = load::start(fleet.client(), 300.0);
    for name in ["a", "b", "c", "a", "b"] {
        load::more(&run, 60).await;
        fleet.gateway.drain(name).await.unwrap();
        let at_return = sent(&fleet.gateway, name).await.unwrap();
        load::more(&run, 100).await;
        let worker = fleet.worker(name).unwrap();
        eventually("the worker to finish what it had", async || {
            ensure!(worker.in_flight().await? == 0);
            Ok(())
        })
        .await
        .unwrap();
        // All its requests came through this gateway, so both count the same unless one slipped past.
        assert_eq!(worker.arrivals().await.unwrap(), at_return, "requests reached {name} after its drain");
        fleet.gateway.undrain(name).await.unwrap();
        let worker = fleet.worker(name).unwrap();
        eventually("requests at the worker again", async || {
            ensure!(worker.arrivals().await? > at_return);
            Ok(())
        })
        .await
        .unwrap();
    }
    run.stop();
    load::none_lost(&run.finish().await);
}

#[tokio::test]
async fn a_drain_survives_a_reload_and_its_unknown_worker_is_an_error() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a", "b"]).await.unwrap();
    fleet.gateway.drain("a").await.unwrap();
    let mut toml = fleet.gateway.toml().clone();
    toml.rules = "[[model]]\nname = \"m\"\npolicy = \"round_robin\"\n".to_owned();
    let generation = fleet.gateway.generation().await.unwrap();
    fleet.gateway.write(toml).unwrap();
    eventually("the new configuration in use", async || {
        ensure!(fleet.gateway.generation().await? > generation);
        Ok(())
    })
    .await
    .unwrap();
    let run = load::start(fleet.client(), 200.0);
    load::more(&run, 50).await;
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    assert_eq!(report.workers.keys().collect::<Vec<_>>(), ["b"], "{report}");
    assert_eq!(fleet.gateway.change("/v1/workers/nobody/drain").await.unwrap().status, 404);
}
