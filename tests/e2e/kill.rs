//! kill -9 of a worker under load, again and again: nothing is lost for a client that repeats nothing.

use std::time::Duration;

use anyhow::ensure;
use weir_tests::{Fleet, Synthetic, eventually};

use crate::load;

/// Requests that must be in flight at each kill.
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn five_kills_under_load_lose_nothing() {
    // At 300 requests a second, some 70 are in flight over three workers.
    let model = Synthetic { base: Duration::from_millis(150), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&model, &["a", "b", "c"]).await.unwrap();
    let run = load::start(fleet.client(), 300.0);
    load::more(&run, 100).await;
    for name in ["a", "b", "c", "a", "b"] {
        let worker = fleet.worker(name).unwrap();
        let in_flight = eventually("requests in flight at the worker and in all", async || {
            ensure!(worker.in_flight().await? > 0, "none at the worker");
            let in_flight = run.progress().in_flight;
            ensure!(in_flight >= IN_FLIGHT, "{in_flight} in all");
            Ok(in_flight)
        })
        .await
        .unwrap();
        worker.process().kill().unwrap();
        println!("killed {name} with {in_flight} requests in flight");
        load::more(&run, 100).await;
        let worker = fleet.worker(name).unwrap();
        worker.restart().unwrap();
        worker.ready().await.unwrap();
        fleet.ready().await.unwrap();
        load::more(&run, 100).await;
    }
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    assert_eq!(report.workers.len(), 3, "{report}");
}
