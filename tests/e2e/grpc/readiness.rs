//! Readiness in its three forms (server, model, health service) where a model has failed or a worker goes away.

use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tonic::Code;
use weir_protocol::grpc::{
    ModelReadyRequest, ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerReadyRequest,
    ServerReadyResponse,
};
use weir_tests::{
    Fleet, GrpcClient, Synthetic, WorkerSpec, eventually,
    grpc::services::{HEALTH_CHECK, HealthRequest, HealthResponse, Serving},
    infer,
};

use super::{both, is};

async fn model_ready(grpc: &GrpcClient, name: &str) -> Result<bool, tonic::Status> {
    let request = ModelReadyRequest { name: name.to_owned(), version: String::new() };
    Ok(grpc.call::<ModelReadyResponse>("ModelReady", &request).await?.ready)
}

async fn server_ready(grpc: &GrpcClient) -> bool {
    grpc.call::<ServerReadyResponse>("ServerReady", &ServerReadyRequest {}).await.unwrap().ready
}

async fn health(grpc: &GrpcClient, service: &str) -> Serving {
    let request = HealthRequest { service: service.to_owned() };
    grpc.call_at::<HealthResponse>(HEALTH_CHECK, &request).await.unwrap().status()
}

#[tokio::test]
async fn a_model_that_has_failed_is_not_ready_and_the_server_is() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.repository.write("broken/model.toml", "max_batch_size = 1\n").unwrap();
    std::fs::create_dir_all(builder.repository.folder().join("broken/1")).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        assert!(server_ready(&grpc).await && model_ready(&grpc, "m").await.unwrap(), "{place}");
        assert!(!model_ready(&grpc, "broken").await.unwrap(), "{place}");
        assert_eq!(health(&grpc, "").await, Serving::Serving, "{place}");
        assert_eq!(health(&grpc, "m").await, Serving::Serving, "{place}");
        assert_eq!(health(&grpc, "broken").await, Serving::NotServing, "{place}");
        is(place, &grpc.infer(&infer::message("broken", 1, 4, 0.0)).await, Code::Unavailable, "not-ready");
        assert!(!model_ready(&grpc, "nope").await.unwrap(), "{place}");
        is(place, &model_ready(&grpc, "a b").await, Code::InvalidArgument, "bad-request");
    }
}

#[tokio::test]
async fn a_worker_that_goes_away_is_alive_and_not_ready_until_it_has_answered() {
    let slow = Synthetic { base: Duration::from_secs(3), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&slow, &["a"]).await.unwrap();
    let grpc = fleet.worker("a").unwrap().grpc().unwrap();
    let other = fleet.worker("a").unwrap().grpc().unwrap();
    let mut accepted = JoinSet::new();
    accepted.spawn(async move { other.infer(&infer::message("m", 1, 4, 0.0)).await });
    let worker = fleet.worker("a").unwrap();
    eventually("the request at the worker", async || {
        ensure!(worker.in_flight().await? == 1);
        Ok(())
    })
    .await
    .unwrap();
    assert!(server_ready(&grpc).await);
    worker.process().terminate().unwrap();
    eventually("a worker that is not ready", async || {
        ensure!(!server_ready(&grpc).await);
        Ok(())
    })
    .await
    .unwrap();
    let live: ServerLiveResponse = grpc.call("ServerLive", &ServerLiveRequest {}).await.unwrap();
    assert!(live.live);
    assert_eq!(health(&grpc, "").await, Serving::NotServing);
    is("new", &grpc.infer(&infer::message("m", 1, 4, 0.0)).await, Code::Unavailable, "draining");
    is("stream", &grpc.stream(&[infer::message("m", 1, 4, 0.0)]).next().await, Code::Unavailable, "draining");
    accepted.join_all().await.pop().unwrap().unwrap();
    let status = fleet.worker("a").unwrap().process().ended().await.unwrap();
    assert!(status.success(), "{status}");
}
