//! Every method but inference: it says what REST says, and what is wrong with a call is told by the right status.

use std::sync::Arc;

use http::Request;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};
use weir_protocol::grpc;

use super::client::{Client, framed, path, post, row};
use crate::{
    model::lifecycle::Event,
    tests::fixture::{ECHO, Repository, Running},
};

const HEALTH: &str = "/grpc.health.v1.Health";

async fn started() -> (Running, Client) {
    let running = Running::start(Repository::echo()).await;
    let client = Client::connect(&running).await;
    (running, client)
}

fn names(name: &str, version: &str) -> (String, String) {
    (name.to_owned(), version.to_owned())
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let (running, client) = started().await;
    let live: grpc::ServerLiveResponse =
        client.unary("ServerLive", &grpc::ServerLiveRequest {}).await.message();
    assert!(live.live);
    let ready: grpc::ServerReadyResponse =
        client.unary("ServerReady", &grpc::ServerReadyRequest {}).await.message();
    assert!(ready.ready);
    let told: grpc::ServerMetadataResponse =
        client.unary("ServerMetadata", &grpc::ServerMetadataRequest {}).await.message();
    let rest = running.get("/v2").await.json();
    assert_eq!((rest["name"].as_str(), rest["version"].as_str()), (Some(&*told.name), Some(&*told.version)));
    assert_eq!(rest["extensions"], serde_json::json!(told.extensions));
    running.stop();
    let ready: grpc::ServerReadyResponse =
        client.unary("ServerReady", &grpc::ServerReadyRequest {}).await.message();
    assert!(!ready.ready);
}

#[tokio::test]
async fn models_are_described_as_over_rest() {
    let (running, client) = started().await;
    client.infer(&row("", [1.0, 2.0])).await;
    let (name, version) = names("echo", "1");
    let config: grpc::ModelConfigResponse =
        client.unary("ModelConfig", &grpc::ModelConfigRequest { name, version }).await.message();
    let rest = running.get("/v2/models/echo/versions/1/config").await.json();
    assert_eq!(serde_json::to_value(config.config.unwrap()).unwrap(), rest);
    let (name, version) = names("", "");
    let statistics: grpc::ModelStatisticsResponse =
        client.unary("ModelStatistics", &grpc::ModelStatisticsRequest { name, version }).await.message();
    assert_eq!(serde_json::to_value(&statistics).unwrap(), running.get("/v2/models/stats").await.json());
    assert_eq!(statistics.model_stats[0].inference_count, 1);
    let (name, version) = names("echo", "");
    let metadata: grpc::ModelMetadataResponse =
        client.unary("ModelMetadata", &grpc::ModelMetadataRequest { name, version }).await.message();
    let rest = running.get("/v2/models/echo").await.json();
    assert_eq!(serde_json::json!(metadata.versions), rest["versions"]);
    assert_eq!((&*metadata.inputs[0].datatype, &metadata.inputs[0].shape), ("FP32", &vec![-1, 2]));
    let index: grpc::RepositoryIndexResponse =
        client.unary("RepositoryIndex", &grpc::RepositoryIndexRequest::default()).await.message();
    assert_eq!((&*index.models[0].name, &*index.models[0].state), ("echo", "READY"));
}

#[tokio::test]
async fn a_model_is_ready_or_not_and_what_is_unknown_is_not() {
    let running = Running::unloaded(Repository::echo(), "", false).await;
    let client = Client::connect(&running).await;
    let ask = async |name: &str, version: &str| {
        let (name, version) = names(name, version);
        client.unary("ModelReady", &grpc::ModelReadyRequest { name, version }).await
    };
    for (name, version) in [("echo", "1"), ("none", ""), ("echo", "2"), ("echo", "newest")] {
        let ready = ask(name, version).await.message::<grpc::ModelReadyResponse>().ready;
        assert!(!ready, "{name} {version}");
    }
    for (name, version, expected) in [
        ("echo", "-1", (5, "version-not-found", "")),
        ("a b", "", (3, "bad-request", "")),
        ("", "", (3, "bad-request", "")),
    ] {
        assert_eq!(ask(name, version).await.refused(), expected, "{name} {version}");
    }
}

#[tokio::test]
async fn only_a_worker_that_allows_it_loads_and_unloads() {
    let (_running, client) = started().await;
    let load =
        |name: &str| grpc::RepositoryModelLoadRequest { model_name: name.into(), ..Default::default() };
    let unload =
        |name: &str| grpc::RepositoryModelUnloadRequest { model_name: name.into(), ..Default::default() };
    for answer in [
        client.unary("RepositoryModelLoad", &load("echo")).await,
        client.unary("RepositoryModelUnload", &unload("echo")).await,
    ] {
        assert_eq!(answer.refused(), (7, "forbidden", ""));
    }
    let running = Running::with(Repository::echo(), "control = true").await;
    let client = Client::connect(&running).await;
    client
        .unary("RepositoryModelUnload", &unload("echo"))
        .await
        .message::<grpc::RepositoryModelUnloadResponse>();
    assert_eq!(
        client.unary("ModelInfer", &row("", [1.0, 2.0])).await.refused(),
        (14, "not-ready", "not-ready")
    );
    client.unary("RepositoryModelLoad", &load("echo")).await.message::<grpc::RepositoryModelLoadResponse>();
    client.infer(&row("", [1.0, 2.0])).await;
    assert_eq!(client.unary("RepositoryModelLoad", &load("none")).await.refused().0, 5);
    let mut overridden = load("echo");
    overridden.parameters.insert("config".into(), grpc::ModelRepositoryParameter::default());
    assert_eq!(client.unary("RepositoryModelLoad", &overridden).await.refused(), (12, "unsupported", ""));
}

#[tokio::test]
async fn calls_that_are_none_are_told_from_those_that_fail() {
    let (running, client) = started().await;
    let message = framed(&row("", [1.0, 2.0]));
    for (request, expected) in [
        (post(&path("ModelInferAgain")), (12, "path-not-found", "")),
        (post("/v2/models/echo/infer"), (12, "path-not-found", "")),
        (post(&path("ModelInfer")).method("PUT"), (12, "method-not-allowed", "")),
        (post(&path("ModelInfer")).header("grpc-encoding", "zstd"), (12, "unsupported-encoding", "")),
        (post(&path("ModelInfer")).header("grpc-timeout", "soon"), (3, "bad-request", "")),
        (post(&path("ModelInfer")).header("x-timeout-ms", "0"), (3, "bad-request", "")),
        (post(&path("ModelInfer")).header("weir-route", "echo"), (3, "bad-request", "")),
    ] {
        assert_eq!(client.send(request, message.clone()).await.refused(), expected);
    }
    let mut open = client.open(post("/another.Service/Stream"));
    assert_eq!(
        open.end().await,
        (12, "path-not-found".to_owned()),
        "although its client sends nothing and waits"
    );
    let json = Request::post(format!("http://test{}", path("ModelInfer")))
        .header("content-type", "application/grpc+json");
    assert_eq!(client.send(json, message.clone()).await.refused(), (12, "unsupported-encoding", ""));
    let http1 = Request::post(path("ModelInfer")).header("content-type", "application/grpc");
    let reply = running.send(http1, message).await;
    assert_eq!((reply.status, reply.error()), (415, "gRPC needs HTTP/2".to_owned()));
    client.infer(&row("", [1.0, 2.0])).await;
}

#[tokio::test]
async fn health_follows_the_state_of_worker_and_models() {
    let running = Running::unloaded(Repository::echo(), "", false).await;
    let client = Client::connect(&running).await;
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.send(post(&format!("{HEALTH}/Check")), framed(&request)).await
    };
    let (serving, not_serving, unknown) = (1, 2, 3);
    let mut watches = Vec::new();
    for (service, now) in [("", not_serving), ("echo", not_serving), ("none", unknown)] {
        let mut watch = client.open(post(&format!("{HEALTH}/Watch")));
        watch.send(&HealthCheckRequest { service: service.to_owned() });
        watch.close();
        assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status, now, "{service}");
        watches.push(watch);
    }
    assert_eq!(check("").await.message::<HealthCheckResponse>().status, not_serving);
    assert_eq!(check("none").await.refused(), (5, "model-not-found", ""));
    let replica = Arc::clone(&running.worker.store.replicas().next().unwrap());
    let queue = Arc::new(crate::lanes::tests::idle());
    for event in [Event::Load, Event::WarmUp, Event::Serve(queue)] {
        replica.advance(event);
    }
    for (service, watch) in [""; 1].iter().chain(&["echo"]).zip(&mut watches) {
        assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status, serving, "{service}");
        assert_eq!(check(service).await.message::<HealthCheckResponse>().status, serving);
    }
    running.stop();
    for watch in &mut watches[..2] {
        assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status, not_serving);
    }
    for watch in &mut watches {
        assert_eq!(watch.end().await, (14, "draining".to_owned()));
    }
    running.ended().await;
}

#[tokio::test]
async fn reflection_describes_the_services() {
    let (_running, client) = started().await;
    for service in ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"] {
        let mut call = client.open(post(&format!("/{service}/ServerReflectionInfo")));
        let mut ask = async |wanted| {
            call.send(&ServerReflectionRequest { host: String::new(), message_request: Some(wanted) });
            call.next::<ServerReflectionResponse>().await.unwrap().message_response.unwrap()
        };
        let MessageResponse::ListServicesResponse(list) =
            ask(MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list");
        };
        let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health", service] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        }
        let symbol = MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".to_owned());
        let MessageResponse::FileDescriptorResponse(file) = ask(symbol).await else { panic!("no file") };
        let names_it = |method: &str| {
            file.file_descriptor_proto[0].windows(method.len()).any(|at| at == method.as_bytes())
        };
        assert!(names_it("ModelStreamInfer") && !names_it("ModelStreamInferAgain"));
    }
}

#[tokio::test]
async fn a_reflections_question_that_is_no_name_ends_it_unanswered() {
    let (_running, client) = started().await;
    for service in ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"] {
        let mut call = client.open(post(&format!("/{service}/ServerReflectionInfo")));
        let name = MessageRequest::FileByFilename("x".repeat(20_000));
        call.send(&ServerReflectionRequest { host: String::new(), message_request: Some(name) });
        assert_eq!(call.end().await.0, 0, "{service}");
    }
}

#[tokio::test]
async fn a_reflection_that_is_left_open_does_not_keep_the_worker() {
    let running = Running::start(Repository::new().with("echo", ECHO, &[1])).await;
    let client = Client::connect(&running).await;
    let mut call = client.open(post("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
    running.stop();
    assert_eq!(call.end().await, (14, "draining".to_owned()));
    running.ended().await;
}
