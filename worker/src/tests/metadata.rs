//! What the worker tells about itself and its models.

use serde_json::json;

use super::fixture::{ECHO, Repository, Running};

#[tokio::test]
async fn health_and_server_metadata_answer_as_the_protocol_says() {
    let running = Running::start(Repository::echo()).await;
    assert_eq!(running.get("/v2/health/live").await.json(), json!({ "live": true }));
    assert_eq!(running.get("/v2/health/ready").await.json(), json!({ "ready": true }));
    let server = running.get("/v2/").await.json();
    assert_eq!(server["name"], "weir-worker");
    let extensions =
        json!(["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"]);
    assert_eq!(server["extensions"], extensions);
}

#[tokio::test]
async fn a_worker_that_still_loads_is_live_but_not_ready() {
    let slow = ECHO.replace("base = ", "load_time = \"1h\"\nbase = ");
    let running = Running::unloaded(Repository::new().with("echo", &slow, &[1]), "", true).await;
    assert_eq!(running.get("/v2/health/live").await.status, 200);
    let ready = running.get("/v2/health/ready").await;
    assert_eq!((ready.status, ready.header("weir-reason")), (503, "not-ready"));
    assert_eq!(ready.error(), "models are still being loaded");
    let infer = running.post("/v2/models/echo/infer", super::fixture::ECHO_ROW).await;
    assert_eq!((infer.status, infer.header("weir-refused")), (503, "not-ready"));
    assert_eq!(infer.error(), "model 'echo' is not ready: it is being loaded");
}

#[tokio::test]
async fn model_metadata_names_versions_and_shapes_with_the_batch_dimension() {
    let running = Running::start(Repository::new().with("echo", ECHO, &[1, 12, 2])).await;
    let tensor = |name: &str| json!({ "name": name, "datatype": "FP32", "shape": [-1, 2] });
    let expected = |versions| {
        json!({
            "name": "echo",
            "versions": versions,
            "platform": "weir_synthetic",
            "inputs": [tensor("x")],
            "outputs": [tensor("y")],
        })
    };
    assert_eq!(running.get("/v2/models/echo").await.json(), expected(json!(["1", "2", "12"])));
    assert_eq!(running.get("/v2/models/echo/versions/2").await.json(), expected(json!(["2"])));
    let ready = running.get("/v2/models/echo/versions/12/ready").await;
    assert_eq!(ready.json(), json!({ "name": "echo", "ready": true }));
}

#[tokio::test]
async fn unknown_names_are_told_apart() {
    let running = Running::start(Repository::new().with("echo", ECHO, &[1, 3])).await;
    for suffix in ["", "/ready"] {
        let model = running.get(&format!("/v2/models/other{suffix}")).await;
        assert_eq!((model.status, model.header("weir-reason")), (404, "model-not-found"));
        let version = running.get(&format!("/v2/models/echo/versions/2{suffix}")).await;
        assert_eq!((version.status, version.header("weir-reason")), (404, "version-not-found"));
        assert_eq!(version.error(), "model 'echo' has no version 2: its versions are 1, 3");
    }
}

#[tokio::test]
async fn the_highest_version_answers_unless_one_is_named() {
    let running = Running::start(Repository::new().with("echo", ECHO, &[1, 2])).await;
    let row = super::fixture::ECHO_ROW;
    let highest = running.post("/v2/models/echo/infer", row).await;
    assert_eq!(
        (highest.header("weir-served"), &highest.json()["model_version"]),
        ("echo;2;w-1", &json!("2"))
    );
    let named = running.post("/v2/models/echo/versions/1/infer", row).await;
    assert_eq!((named.header("weir-served"), &named.json()["model_version"]), ("echo;1;w-1", &json!("1")));
}

#[tokio::test]
async fn a_broken_model_toml_fails_that_model_alone_and_says_why_to_gateways_only() {
    let broken = ECHO.replace("FP32", "FP99");
    let running = Running::start(Repository::echo().with("broken", &broken, &[1])).await;
    running.assert_serves().await;
    let infer = running.post("/v2/models/broken/infer", "{}").await;
    assert_eq!((infer.status, infer.header("retry-after")), (503, "1"));
    assert_eq!(infer.error(), "model 'broken' is not ready: it failed to load; the worker's log says why");
    assert_eq!(running.get("/v2/models/broken").await.status, 503);
    let report = running.get("/v2/load").await.json();
    let failed = &report["models"][0];
    assert_eq!((&failed["model"], &failed["state"]), (&json!("broken"), &json!("failed")));
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("model.toml:6:") && reason.contains("FP99"), "{reason}");
}
