//! A fleet starts, answers and spreads its load.

use weir_tests::{Fleet, Synthetic, infer};

use crate::load;

#[tokio::test]
async fn every_worker_takes_part_of_the_load() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a", "b", "c"]).await.unwrap();
    let reply = fleet.client().post_json(&infer::path("m"), &infer::rows(2, 4)).await.unwrap();
    assert_eq!(reply.json().unwrap()["outputs"][0]["shape"], serde_json::json!([2, 4]), "{reply}");
    let run = load::start(fleet.client(), 200.0);
    load::more(&run, 300).await;
    run.stop();
    let report = run.finish().await;
    load::none_lost(&report);
    let names: Vec<_> = report.workers.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c"], "{report}");
}
