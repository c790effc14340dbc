//! Models that cannot be loaded: that version has failed with a reason, the rest serves.

use anyhow::ensure;
use weir_protocol::Lifecycle;
use weir_tests::{Client, Fleet, FleetBuilder, WorkerSpec, eventually};

use crate::smoke::image;

const BROKEN: &str = "max_batch_size = 1\n[[input]]\nname = \"x\"\n";

fn repository(builder: &FleetBuilder) {
    builder.repository.add_digits().unwrap();
    // A text, the beginning of a real model, nothing at all, and a model.toml with mistakes.
    builder.repository.write("digits/3/model.pt", "not a model").unwrap();
    let whole = std::fs::read(builder.repository.folder().join("digits/1/model.pt")).unwrap();
    for (folder, content) in [("digits/4", &whole[..whole.len() / 2]), ("digits/5", &whole[..0])] {
        let folder = builder.repository.folder().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.pt"), content).unwrap();
    }
    std::fs::create_dir_all(builder.repository.folder().join("digits/6")).unwrap();
    builder.repository.write("broken/model.toml", BROKEN).unwrap();
    std::fs::create_dir_all(builder.repository.folder().join("broken/1")).unwrap();
}

async fn answers(client: Client, path: &str) -> (u16, String) {
    let reply = client.post_json(path, &image()).await.unwrap();
    (reply.status, reply.header("weir-reason").to_owned())
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_has_failed_with_a_reason_and_the_rest_serves() {
    let mut builder = Fleet::builder().unwrap();
    repository(&builder);
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.launch().unwrap();
    let worker = fleet.worker("a").unwrap();
    let report = eventually("every version settled", async || {
        worker.process().check_running()?;
        let report = worker.report().await?;
        let settled = |state| matches!(state, Lifecycle::Serving | Lifecycle::Failed);
        ensure!(report.models.len() >= 7 && report.models.iter().all(|it| settled(it.state)), "{report:?}");
        Ok(report)
    })
    .await
    .unwrap();
    for replica in &report.models {
        let name = format!("{} {}", replica.model, replica.version);
        let serves = matches!(name.as_str(), "digits 1" | "digits 2");
        assert_eq!(replica.state == Lifecycle::Serving, serves, "{name}: {replica:?}");
        assert_eq!(replica.reason.is_none(), serves, "{name}: {replica:?}");
        let reason = replica.reason.as_deref().unwrap_or_default();
        assert!(serves || (reason.len() > 10 && !reason.contains("/src/")), "{name}: {reason}");
    }
    fleet.gateway.ready().await.unwrap();
    fleet.ready().await.unwrap();
    for client in [fleet.worker("a").unwrap().client(), fleet.client()] {
        assert_eq!(answers(client, "/v2/models/digits/infer").await.0, 200);
        assert_eq!(answers(client, "/v2/models/digits/versions/1/infer").await.0, 200);
        for path in ["/v2/models/digits/versions/4/infer", "/v2/models/broken/infer"] {
            assert_eq!(answers(client, path).await, (503, "not-ready".to_owned()), "{path}");
        }
    }
}
