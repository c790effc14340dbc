//! Every unary call, the health service and reflection: the same as over REST, at the worker and through the gateway.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Request};
use weir_protocol::grpc::{
    ModelConfigRequest, ModelConfigResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModelLoadRequest, RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest, RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
    model_metadata_response::TensorMetadata,
};
use weir_tests::{
    Client, Fleet, GrpcClient, Synthetic, WorkerSpec, eventually,
    grpc::{
        path,
        services::{
            HEALTH_CHECK, HEALTH_WATCH, HealthRequest, HealthResponse, REFLECTION, ReflectionRequest,
            ReflectionResponse, Serving,
        },
        wire,
    },
    infer,
};

use super::{both, is};

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

/// Each client over gRPC with the one over REST.
fn pairs(fleet: &mut Fleet) -> Vec<(&'static str, GrpcClient, Client)> {
    let clients = both(fleet).into_iter();
    clients.map(|(place, grpc)| (place, grpc.clone(), Client::of(grpc.address()))).collect()
}

fn tensors(tensors: &[TensorMetadata]) -> Value {
    let one = |it: &TensorMetadata| json!({ "name": it.name, "datatype": it.datatype, "shape": it.shape });
    tensors.iter().map(one).collect()
}

#[tokio::test]
async fn live_ready_and_metadata_say_what_rest_says() {
    let mut fleet = fleet().await;
    for (place, grpc, rest) in pairs(&mut fleet) {
        let live: ServerLiveResponse = grpc.call("ServerLive", &ServerLiveRequest {}).await.unwrap();
        let ready: ServerReadyResponse = grpc.call("ServerReady", &ServerReadyRequest {}).await.unwrap();
        assert!(live.live && ready.ready, "{place}");
        for version in ["", "2"] {
            let request = ModelReadyRequest { name: "digits".into(), version: version.into() };
            let ready: ModelReadyResponse = grpc.call("ModelReady", &request).await.unwrap();
            assert!(ready.ready, "{place} {version}");
        }

        let server: ServerMetadataResponse =
            grpc.call("ServerMetadata", &ServerMetadataRequest {}).await.unwrap();
        let said = json!({ "name": server.name, "version": server.version, "extensions": server.extensions });
        assert_eq!(said, rest.get("/v2").await.unwrap().json().unwrap(), "{place}");

        for (version, at) in [("", "/v2/models/digits"), ("1", "/v2/models/digits/versions/1")] {
            let request = ModelMetadataRequest { name: "digits".into(), version: version.into() };
            let model: ModelMetadataResponse = grpc.call("ModelMetadata", &request).await.unwrap();
            let said = json!({
                "name": model.name, "versions": model.versions, "platform": model.platform,
                "inputs": tensors(&model.inputs), "outputs": tensors(&model.outputs),
            });
            assert_eq!(said, rest.get(at).await.unwrap().json().unwrap(), "{place} {at}");
        }
    }
}

#[tokio::test]
async fn config_statistics_and_index_say_what_rest_says() {
    let mut fleet = fleet().await;
    for (place, grpc, rest) in pairs(&mut fleet) {
        for rows in [1, 3] {
            grpc.infer(&infer::message("m", rows, 4, 0.5)).await.unwrap();
        }
        for (version, at) in [("", "/v2/models/digits/config"), ("1", "/v2/models/digits/versions/1/config")]
        {
            let request = ModelConfigRequest { name: "digits".into(), version: version.into() };
            let config: ModelConfigResponse = grpc.call("ModelConfig", &request).await.unwrap();
            let said = serde_json::to_value(config.config.unwrap()).unwrap();
            assert_eq!(said, rest.get(at).await.unwrap().json().unwrap(), "{place} {at}");
        }
        for (name, version, at) in [
            ("", "", "/v2/models/stats"),
            ("m", "", "/v2/models/m/stats"),
            ("m", "1", "/v2/models/m/versions/1/stats"),
        ] {
            let request = ModelStatisticsRequest { name: name.into(), version: version.into() };
            let statistics: ModelStatisticsResponse = grpc.call("ModelStatistics", &request).await.unwrap();
            let m = statistics.model_stats.iter().find(|it| it.name == "m").unwrap();
            assert!(m.inference_count >= 4, "{place} {at}: {m:?}");
            let said = serde_json::to_value(&statistics).unwrap();
            assert_eq!(said, rest.get(at).await.unwrap().json().unwrap(), "{place} {at}");
        }
        for ready in [false, true] {
            let request = RepositoryIndexRequest { ready, ..RepositoryIndexRequest::default() };
            let index: RepositoryIndexResponse = grpc.call("RepositoryIndex", &request).await.unwrap();
            let said = serde_json::to_value(&index.models).unwrap();
            let body = json!({ "ready": ready });
            let reply = rest.post_json("/v2/repository/index", &body).await.unwrap();
            assert_eq!(said, reply.json().unwrap(), "{place} ready: {ready}");
            assert_eq!(index.models.len(), 3, "{place}: {index:?}");
        }
    }
}

#[tokio::test]
async fn unknown_models_versions_and_methods_have_their_status() {
    let mut fleet = fleet().await;
    for (place, grpc) in both(&mut fleet) {
        let nope = || "nope".to_owned();
        let of = |name: &str, version: &str| {
            let mut message = infer::message(name, 1, 4, 0.0);
            message.model_version = version.to_owned();
            message
        };
        let unknown = grpc.infer(&of("nope", "")).await;
        is(place, &unknown, Code::NotFound, "model-not-found");
        is(place, &grpc.infer(&of("m", "9")).await, Code::NotFound, "version-not-found");
        is(place, &grpc.infer(&of("m", "beta")).await, Code::NotFound, "version-not-found");
        is(place, &grpc.infer(&of("m", "0")).await, Code::NotFound, "version-not-found");
        is(place, &grpc.infer(&of("a/b", "")).await, Code::InvalidArgument, "bad-request");
        is(place, &grpc.infer(&of("", "")).await, Code::InvalidArgument, "bad-request");

        let request = ModelMetadataRequest { name: nope(), version: String::new() };
        let metadata = grpc.call::<ModelMetadataResponse>("ModelMetadata", &request).await;
        is(place, &metadata, Code::NotFound, "model-not-found");
        let request = ModelConfigRequest { name: nope(), version: String::new() };
        let config = grpc.call::<ModelConfigResponse>("ModelConfig", &request).await;
        is(place, &config, Code::NotFound, "model-not-found");
        let request = ModelStatisticsRequest { name: nope(), version: String::new() };
        let statistics = grpc.call::<ModelStatisticsResponse>("ModelStatistics", &request).await;
        is(place, &statistics, Code::NotFound, "model-not-found");
        let request = HealthRequest { service: nope() };
        let health = grpc.call_at::<HealthResponse>(HEALTH_CHECK, &request).await;
        assert_eq!(health.unwrap_err().code(), Code::NotFound, "{place}");

        for method in ["/inference.GRPCInferenceService/Nothing", "/other.Service/ModelInfer"] {
            let answer = grpc.call_at::<ServerLiveResponse>(method, &ServerLiveRequest {}).await;
            is(place, &answer, Code::Unimplemented, "path-not-found");
        }
    }
}

#[tokio::test]
async fn an_error_is_headers_only_with_its_reason_and_the_clients_request_id() {
    let mut fleet = fleet().await;
    for (place, grpc) in both(&mut fleet) {
        let message = infer::message("nope", 1, 4, 0.0).encode_to_vec();
        let mut request = wire::request(grpc.address(), &path("ModelInfer"), wire::frame(&message)).unwrap();
        request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
        let reply = wire::send(grpc.address(), request).await.unwrap();
        reply.is_error(5, "model-not-found").unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(reply.headers["x-request-id"], "mine", "{place}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_harm_nobody() {
    let mut fleet = fleet().await;
    let epoch = fleet.worker("a").unwrap().report().await.unwrap().epoch;
    let good = infer::message("m", 1, 4, 0.0).encode_to_vec();
    let mut compressed = wire::frame(&good).to_vec();
    compressed[0] = 1;
    let cut = wire::frame(&good).slice(..good.len() / 2);
    let cases: BTreeMap<&str, Bytes> = BTreeMap::from([
        ("a field of a kind that there is not", wire::frame(&[0x0f, 0x01])),
        ("a field longer than the message", wire::frame(&[0x0a, 0x7f, b'm'])),
        ("a name that is no text", wire::frame(&[0x0a, 0x02, 0xff, 0xfe])),
        ("a compressed message of no compression", compressed.into()),
        ("half a message", cut),
        ("no message at all", Bytes::new()),
        ("two messages", [wire::frame(&good), wire::frame(&good)].concat().into()),
        ("a frame of four gigabytes", Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
    ]);
    for (place, grpc) in both(&mut fleet) {
        for (name, body) in &cases {
            let request = wire::request(grpc.address(), &path("ModelInfer"), body.clone()).unwrap();
            // A stream that is reset is an answer too.
            if let Ok(reply) = wire::send(grpc.address(), request).await {
                assert_eq!(reply.http, 200, "{place}, {name}: {reply:?}");
                assert_ne!(reply.status().unwrap(), 0, "{place}, {name}: {reply:?}");
            }
            grpc.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap();
        }
    }
    fleet.idle().await.unwrap();
    assert_eq!(fleet.worker("a").unwrap().report().await.unwrap().epoch, epoch, "the worker was restarted");
}

#[tokio::test]
async fn models_load_and_unload_only_where_it_is_allowed() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let mut open = WorkerSpec::named("a").unwrap();
    open.worker_toml = "control = true".to_owned();
    builder.worker(open);
    builder.worker(WorkerSpec::named("closed").unwrap());
    let mut fleet = builder.start().await.unwrap();

    let load = RepositoryModelLoadRequest { model_name: "m".into(), ..Default::default() };
    let unload = RepositoryModelUnloadRequest { model_name: "m".into(), ..Default::default() };
    let closed = fleet.worker("closed").unwrap().grpc().unwrap();
    for (place, grpc) in [("a worker without control", closed), ("gateway", fleet.gateway.grpc().unwrap())] {
        let answer = grpc.call::<RepositoryModelLoadResponse>("RepositoryModelLoad", &load).await;
        is(place, &answer, Code::PermissionDenied, "forbidden");
        let answer = grpc.call::<RepositoryModelUnloadResponse>("RepositoryModelUnload", &unload).await;
        is(place, &answer, Code::PermissionDenied, "forbidden");
        grpc.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap();
    }

    let open = fleet.worker("a").unwrap().grpc().unwrap();
    let _: RepositoryModelUnloadResponse = open.call("RepositoryModelUnload", &unload).await.unwrap();
    is("unloaded", &open.infer(&infer::message("m", 1, 4, 0.0)).await, Code::Unavailable, "not-ready");
    let _: RepositoryModelLoadResponse = open.call("RepositoryModelLoad", &load).await.unwrap();
    open.infer(&infer::message("m", 1, 4, 0.0)).await.unwrap();
    let load = RepositoryModelLoadRequest { model_name: "nope".into(), ..Default::default() };
    let answer = open.call::<RepositoryModelLoadResponse>("RepositoryModelLoad", &load).await;
    is("a model that is nowhere", &answer, Code::NotFound, "model-not-found");
}

#[tokio::test]
async fn health_is_checked_by_server_and_model_and_watched_as_it_changes() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        for service in ["", "m"] {
            let request = HealthRequest { service: service.to_owned() };
            let health: HealthResponse = grpc.call_at(HEALTH_CHECK, &request).await.unwrap();
            assert_eq!(health.status(), Serving::Serving, "{place} {service:?}");
        }
    }
    let grpc = fleet.gateway.grpc().unwrap();
    let model = HealthRequest { service: "m".to_owned() };
    let mut watch = grpc.watch::<HealthResponse>(HEALTH_WATCH, &model).await.unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Serving::Serving);
    fleet.worker("a").unwrap().process().kill().unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Serving::NotServing);
    let now: HealthResponse = grpc.call_at(HEALTH_CHECK, &model).await.unwrap();
    assert_eq!(now.status(), Serving::NotServing);
    fleet.worker("a").unwrap().restart().unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Serving::Serving);

    drop(watch);

    let unknown = HealthRequest { service: "nope".to_owned() };
    for (place, grpc) in both(&mut fleet) {
        let mut watch =
            eventually("a watch", async || Ok(grpc.watch::<HealthResponse>(HEALTH_WATCH, &unknown).await?))
                .await
                .unwrap();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), Serving::ServiceUnknown, "{place}");
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services_and_gives_the_file_of_each() {
    let mut fleet = fleet().await;
    let [(worker, plain), (gateway, other)] = both(&mut fleet);
    let (packed, zipped) = (plain.clone().compressed(), other.clone().compressed());
    for (place, grpc) in [(worker, plain), (worker, packed), (gateway, other), (gateway, zipped)] {
        for path in REFLECTION {
            let list = ReflectionRequest { list_services: Some("*".to_owned()), ..Default::default() };
            let answer: ReflectionResponse = grpc.call_at(path, &list).await.unwrap();
            let services: Vec<_> =
                answer.services.unwrap().services.into_iter().map(|service| service.name).collect();
            for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
                assert!(services.iter().any(|service| service == name), "{place}: {services:?}");
                let of = ReflectionRequest {
                    file_containing_symbol: Some(name.to_owned()),
                    ..ReflectionRequest::default()
                };
                let answer: ReflectionResponse = grpc.call_at(path, &of).await.unwrap();
                let files = answer.files.unwrap().files;
                let last = name.rsplit('.').next().unwrap().as_bytes();
                let defines = |file: &Vec<u8>| file.windows(last.len()).any(|window| window == last);
                assert!(files.iter().any(defines), "{place} {name}: {} files", files.len());
            }
        }
    }
}

#[tokio::test]
async fn a_call_over_http_1_is_told_what_it_needs() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let body = wire::frame(&infer::message("m", 1, 4, 0.0).encode_to_vec());
    let request = http::Request::post(path("ModelInfer"))
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::new(body))
        .unwrap();
    let reply = fleet.client().send(request).await.unwrap();
    assert!((400..500).contains(&reply.status), "{reply}");
    assert!(reply.error().unwrap().contains("HTTP/2"), "{reply}");
    let good = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
    assert_eq!(good.status, 200, "{good}");
    let over: ServerLiveResponse = fleet
        .gateway
        .grpc()
        .unwrap()
        .send(&path("ServerLive"), Request::new(Bytes::new()))
        .await
        .unwrap()
        .into_inner();
    assert!(over.live);
}
