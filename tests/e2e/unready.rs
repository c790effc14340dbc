//! Names that nobody serves: unknown, not known yet, known but not ready.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::TcpListener;
use weir_tests::{Fleet, Reply, Synthetic, WorkerSpec, eventually, infer};

async fn ask(fleet: &Fleet, model: &str) -> Result<Reply> {
    fleet.client().post_json(&infer::path(model), &infer::rows(1, 4)).await
}

/// The reply is an OIP error with this status and reason; 503 tells when to come again.
fn is(reply: &Reply, status: u16, reason: &str) -> Result<()> {
    ensure!(reply.status == status && reply.header("weir-reason") == reason, "{reply}");
    reply.error()?;
    let after = reply.header("retry-after").parse::<u32>();
    ensure!(after.is_ok() == (status == 503), "Retry-After: {after:?}");
    Ok(())
}

#[tokio::test]
async fn a_model_that_no_worker_has_is_unknown() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    is(&ask(&fleet, "nope").await.unwrap(), 404, "model-not-found").unwrap();
    let path = "/v2/models/m/versions/7/infer";
    let reply = fleet.client().post_json(path, &infer::rows(1, 4)).await.unwrap();
    is(&reply, 404, "version-not-found").unwrap();
}

#[tokio::test]
async fn an_unknown_name_may_still_turn_up_until_every_worker_has_settled() {
    // Accepts and never answers, so that the first probe is under way until it times out.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut builder = Fleet::builder().unwrap();
    let at = silent.local_addr().unwrap();
    builder.worker(WorkerSpec { at, ..WorkerSpec::named("silent").unwrap().absent() });
    builder.gateway.health = "interval = \"50ms\"\ntimeout = \"3s\"".to_owned();
    let fleet = builder.launch().unwrap();
    eventually("503 while the worker has not settled", async || {
        is(&ask(&fleet, "m").await?, 503, "starting")
    })
    .await
    .unwrap();
    assert_eq!(fleet.gateway.admin().get("/readyz").await.unwrap().status, 503);
    eventually("404 once its probe has failed", async || {
        is(&ask(&fleet, "m").await?, 404, "model-not-found")
    })
    .await
    .unwrap();
    assert_eq!(fleet.gateway.admin().get("/readyz").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_model_whose_workers_are_gone_is_not_ready_and_comes_back() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    fleet.worker("a").unwrap().process().kill().unwrap();
    eventually("503 once the gateway knows", async || is(&ask(&fleet, "m").await?, 503, "not-ready"))
        .await
        .unwrap();
    fleet.worker("a").unwrap().restart().unwrap();
    eventually("200 again", async || {
        let reply = ask(&fleet, "m").await?;
        ensure!(reply.status == 200, "{reply}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_model_that_is_loading_is_not_ready_until_it_serves() {
    let mut builder = Fleet::builder().unwrap();
    let slow = Synthetic { load_time: Duration::from_secs(2), ..Synthetic::default() };
    builder.repository.add("slow", &slow).unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let fleet = builder.launch().unwrap();
    eventually("503 while it loads", async || is(&ask(&fleet, "slow").await?, 503, "not-ready"))
        .await
        .unwrap();
    for model in ["m", "slow"] {
        eventually("200 once it serves", async || {
            let reply = ask(&fleet, model).await?;
            ensure!(reply.status == 200, "{reply}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
