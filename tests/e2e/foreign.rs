//! Servers of another kind beside Weir's workers: probed, balanced, asked with the names that they know.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;
use tonic::Code;
use weir_tests::{
    Fleet, ForeignServer, ForeignSpec, Synthetic, WorkerSpec, eventually, grpc::metadata_of, infer,
};

fn spec(version: Option<u64>, has_index: bool) -> ForeignSpec {
    ForeignSpec { model: "m".to_owned(), version, has_index, has_grpc: true }
}

/// Two workers of Weir's and one server of another kind, all with the same model.
async fn fleet(server: &ForeignServer, further: &str) -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    for name in ["a", "b"] {
        builder.worker(WorkerSpec::named(name).unwrap());
    }
    builder.worker(WorkerSpec::foreign("other", server.address(), further).unwrap());
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    builder.start().await.unwrap()
}

/// How many of 30 requests each answered; `weir-served` is the gateway's to add for those that do not say it.
async fn spread(fleet: &Fleet) -> BTreeMap<String, u32> {
    let mut spread = BTreeMap::new();
    for _ in 0..30 {
        let reply = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        let by = if reply.worker().is_empty() { "other" } else { reply.worker() };
        *spread.entry(by.to_owned()).or_insert(0) += 1;
    }
    spread
}

fn expected(workers: &[&str]) -> BTreeMap<String, u32> {
    workers.iter().map(|worker| ((*worker).to_owned(), 30 / workers.len() as u32)).collect()
}

#[tokio::test]
async fn requests_spread_over_all_and_health_follows_the_servers_state() {
    let server = ForeignServer::start(spec(None, true)).await.unwrap();
    let mut fleet = fleet(&server, &server.grpc_url()).await;
    assert_eq!(spread(&fleet).await, expected(&["a", "b", "other"]));
    assert!(server.seen().iter().all(|seen| seen.path == "/v2/models/m/infer"), "{:?}", server.seen());
    // Nothing of Weir's own reaches it.
    let internal = |name: &str| name.starts_with("weir-") && name != "weir-request-id";
    let seen = server.seen();
    assert!(seen.iter().all(|it| !it.headers.contains_key("weir-token")), "{:?}", seen[0].headers);
    println!("headers: {:?}", seen[0].headers.keys().filter(|it| internal(it.as_str())).collect::<Vec<_>>());

    let grpc = fleet.gateway.grpc().unwrap();
    let before = server.seen().len();
    for _ in 0..9 {
        let answer = grpc.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap();
        assert_eq!(answer.get_ref().model_name, "m");
    }
    assert_eq!(server.seen().len(), before + 3, "gRPC requests spread too");

    server.set_ready(false);
    eventually("the gateway to see that it is not ready", async || {
        let seen = server.seen().len();
        let spread = spread(&fleet).await;
        ensure!(server.seen().len() == seen && spread == expected(&["a", "b"]), "{spread:?}");
        Ok(())
    })
    .await
    .unwrap();
    server.set_ready(true);
    eventually("requests at it again", async || {
        let spread = spread(&fleet).await;
        ensure!(spread == expected(&["a", "b", "other"]), "{spread:?}");
        Ok(())
    })
    .await
    .unwrap();
    fleet.idle().await.unwrap();
}

/// The path at which a server got an inference of the given path.
async fn asked(fleet: &Fleet, server: &ForeignServer, path: &str) -> Result<String> {
    let reply = fleet.client().post_json(path, &infer::rows(1, 4)).await?;
    ensure!(reply.status == 200, "{path}: {reply}");
    Ok(server.seen().pop().map(|seen| seen.path).unwrap_or_default())
}

#[tokio::test]
async fn a_server_is_asked_with_versions_only_when_it_numbers_them() {
    for (version, has_index, further) in [
        (None, true, ""),
        (None, false, "models = [\"m\"]"),
        (Some(7), true, ""),
        (Some(7), false, "models = [\"m\"]"),
    ] {
        let server = ForeignServer::start(spec(version, has_index)).await.unwrap();
        let mut builder = Fleet::builder().unwrap();
        builder.worker(WorkerSpec::foreign("other", server.address(), further).unwrap());
        let fleet = builder.start().await.unwrap();
        let numbered = format!("/v2/models/m/versions/{}/infer", version.unwrap_or(1));
        let at = if version.is_some() { numbered.as_str() } else { "/v2/models/m/infer" };
        for path in ["/v2/models/m/infer", &numbered] {
            assert_eq!(asked(&fleet, &server, path).await.unwrap(), at, "{version:?} {has_index} {path}");
        }
        let unknown =
            fleet.client().post_json("/v2/models/m/versions/9/infer", &infer::rows(1, 4)).await.unwrap();
        assert_eq!((unknown.status, unknown.header("weir-reason")), (404, "version-not-found"), "{unknown}");
        let ready = fleet.client().get("/v2/models/m/ready").await.unwrap();
        assert_eq!(ready.status, 200, "{ready}");
        let rows = fleet.client().post("/v2/repository/index", "").await.unwrap().json().unwrap();
        let row = &rows[0];
        assert_eq!((&row["name"], &row["state"]), (&"m".into(), &"READY".into()), "{rows}");
    }
}

#[tokio::test]
async fn grpc_goes_to_the_address_that_is_registered_for_it() {
    let rest = ForeignServer::start(spec(None, true)).await.unwrap();
    let rest_only = ForeignSpec { has_grpc: false, ..spec(None, true) };
    let rest_only = ForeignServer::start(rest_only).await.unwrap();
    let grpc = ForeignServer::start(spec(None, true)).await.unwrap();
    let none = rest_only.grpc_url();
    for (server, further, is_served) in [(rest, grpc.grpc_url(), true), (rest_only, none, false)] {
        let mut builder = Fleet::builder().unwrap();
        builder.worker(WorkerSpec::foreign("other", server.address(), &further).unwrap());
        let mut fleet = builder.start().await.unwrap();
        let answer = fleet.gateway.grpc().unwrap().infer(&infer::message("m", 1, 4, 0.0)).await;
        match is_served {
            true => assert_eq!((answer.unwrap().get_ref().model_name.as_str(), grpc.seen().len()), ("m", 1)),
            false => {
                let status = answer.unwrap_err();
                let is_clear = matches!(status.code(), Code::Unimplemented | Code::Unavailable);
                let reason = metadata_of(status.metadata(), "weir-reason");
                assert!(is_clear && !status.message().is_empty() && !reason.is_empty(), "{status:?}");
            }
        }
        assert_eq!(server.seen().len(), 0, "a gRPC call at the address for REST");
        fleet.idle().await.unwrap();
    }
}

#[tokio::test]
async fn without_an_address_for_grpc_a_server_gets_rest_alone() {
    let server = ForeignServer::start(spec(None, true)).await.unwrap();
    let mut both = fleet(&server, "").await;
    let grpc = both.gateway.grpc().unwrap();
    for _ in 0..9 {
        grpc.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap();
    }
    assert_eq!(server.seen().len(), 0, "a gRPC call at the address for REST");
    let spread = spread(&both).await;
    assert!(spread.contains_key("other") && server.seen().len() == spread["other"] as usize, "{spread:?}");
    let workers = both.gateway.admin().get("/v1/workers").await.unwrap().json().unwrap();
    assert_eq!(workers["workers"][2]["grpc_address"], Value::Null, "{workers}");
    both.idle().await.unwrap();

    let mut builder = Fleet::builder().unwrap();
    builder.worker(WorkerSpec::foreign("other", server.address(), "").unwrap());
    let alone = builder.start().await.unwrap();
    let grpc = alone.gateway.grpc().unwrap();
    let status = grpc.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap_err();
    let reason = metadata_of(status.metadata(), "weir-reason");
    assert_eq!((status.code(), reason.as_str()), (Code::Unavailable, "not-ready"));
    assert!(status.message().contains("1 without gRPC"), "{status:?}");
    let ready = alone.client().get("/v2/models/m/ready").await.unwrap();
    assert_eq!(ready.status, 200, "{ready}");
}

#[tokio::test]
async fn statistics_of_the_fleet_do_not_need_every_server() {
    let server = ForeignServer::start(spec(None, true)).await.unwrap();
    let fleet = fleet(&server, "").await;
    spread(&fleet).await;
    let statistics = fleet.client().get("/v2/models/m/stats").await.unwrap().json().unwrap();
    assert_eq!(statistics["model_stats"][0]["inference_count"], 20, "those of Weir's workers: {statistics}");
    let forbidden = fleet.client().post("/v2/repository/models/m/unload", "").await.unwrap();
    assert_eq!(forbidden.status, 403, "{forbidden}");
}
