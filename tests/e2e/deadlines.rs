//! Time that runs out: who is told at once, who leaves the queue, who goes first; at a worker and through the gateway, in
//! REST and in gRPC.

mod counts;
mod neighbours;

use anyhow::{Result, ensure};
use http::Request;
use http_body_util::Full;
use prost::Message;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use weir_protocol::grpc::{InferParameter, ModelInferRequest, infer_parameter::ParameterChoice};
use weir_tests::{
    Client, Fleet, GrpcClient, WorkerSpec, eventually,
    grpc::{path, wire},
    infer, metrics,
    raw::RawConnection,
};

/// DEADLINE_EXCEEDED and UNAVAILABLE.
const DEADLINE_EXCEEDED: u16 = 4;
const UNAVAILABLE: u16 = 14;

/// A synthetic model of four values a row, whose passes take `base`; `batching` are further keys of that table.
fn model(base: &str, max_batch_size: u32, batching: &str) -> String {
    let tensor =
        |table, name| format!("[[{table}]]\nname = \"{name}\"\ndatatype = \"FP32\"\nshape = [-1, 4]\n");
    format!(
        "backend = \"synthetic\"\nmax_batch_size = {max_batch_size}\n{}{}[batching]\n{batching}\n\
         [synthetic]\nbase = \"{base}\"\nper_item = \"0s\"\n",
        tensor("input", "x"),
        tensor("output", "y")
    )
}

/// One worker `a` of one lane with these models, and the gateway before it.
async fn fleet(models: &[(&str, String)]) -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    for (name, toml) in models {
        builder.repository.write(&format!("{name}/model.toml"), toml).unwrap();
        std::fs::create_dir_all(builder.repository.folder().join(name).join("1")).unwrap();
    }
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = "[cpu]\nlanes = 1".to_owned();
    builder.worker(worker);
    builder.start().await.unwrap()
}

/// One row for `model`, in JSON, with parameters.
fn row(parameters: serde_json::Value) -> serde_json::Value {
    let mut row = infer::rows(1, 4);
    row["parameters"] = parameters;
    row
}

/// A request whose answer is not awaited. It is taken back when this is dropped.
async fn sent(address: std::net::SocketAddr, model: &str) -> RawConnection {
    let body = infer::rows(1, 4).to_string();
    let head =
        format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", infer::path(model), body.len());
    let mut connection = RawConnection::open(address).await.unwrap();
    connection.send(head + &body).await.unwrap();
    connection
}

/// Waits until the worker has so many requests and so many of their rows wait.
async fn arrived(fleet: &mut Fleet, in_flight: u64, queued: u64) {
    let worker = fleet.worker("a").unwrap();
    eventually("the requests at the worker", async || {
        let now = (worker.in_flight().await?, worker.queued().await?);
        ensure!(now == (in_flight, queued), "{now:?} in flight and queued");
        Ok(())
    })
    .await
    .unwrap();
}

/// The worker's own number.
async fn count(fleet: &mut Fleet, metric: &str, labels: &[&str]) -> f64 {
    let worker = fleet.worker("a").unwrap().client();
    metrics::value(worker, metric, labels).await.unwrap()
}

/// Where to ask, and whether a client sees there what is between gateways and workers.
fn both(fleet: &mut Fleet) -> [(&'static str, bool, Client, GrpcClient); 2] {
    let gateway = (fleet.client(), fleet.gateway.grpc().unwrap());
    let worker = fleet.worker("a").unwrap();
    let (rest, grpc) = (worker.client(), worker.grpc().unwrap());
    [("worker", true, rest, grpc), ("gateway", false, gateway.0, gateway.1)]
}

/// What a refusal must be.
struct Refusal {
    http: u16,
    grpc: u16,
    reason: &'static str,
    /// `weir-refused`, for those who see it.
    refused: &'static str,
    /// Seconds of `Retry-After`, none for what is over.
    retry: Option<std::ops::RangeInclusive<u64>>,
}

impl Refusal {
    /// Sends one row in REST, with a header and parameters, and checks what comes back.
    async fn in_rest(&self, ask: (&str, bool, Client), header: (&str, &str), body: &serde_json::Value) {
        let (place, insider, client) = ask;
        let request = Request::post(infer::path("m")).header(header.0, header.1);
        let reply = client.send(request.body(Full::from(body.to_string())).unwrap()).await.unwrap();
        assert_eq!((reply.status, reply.header("weir-reason")), (self.http, self.reason), "{place}: {reply}");
        assert_eq!(reply.header("weir-refused"), if insider { self.refused } else { "" }, "{place}");
        self.check_retry(place, reply.headers.get("retry-after"));
        reply.error().unwrap();
    }

    /// The same in gRPC.
    async fn in_grpc(
        &self,
        ask: (&str, bool, GrpcClient),
        header: (&'static str, &str),
        message: &ModelInferRequest,
    ) {
        let (place, insider, client) = ask;
        let frame = wire::frame(&message.encode_to_vec());
        let mut request = wire::request(client.address(), &path("ModelInfer"), frame).unwrap();
        request.headers_mut().insert(header.0, header.1.parse().unwrap());
        let reply = wire::send(client.address(), request).await.unwrap();
        reply.is_error(self.grpc, self.reason).unwrap_or_else(|error| panic!("{place}: {error:#}"));
        let refused = reply.headers.get("weir-refused").map_or("", |value| value.to_str().unwrap());
        assert_eq!(refused, if insider { self.refused } else { "" }, "{place}");
        self.check_retry(place, reply.headers.get("retry-after"));
    }

    fn check_retry(&self, place: &str, given: Option<&http::HeaderValue>) {
        let seconds = given.map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        match (&self.retry, seconds) {
            (None, None) => {}
            (Some(range), Some(seconds)) if range.contains(&seconds) => {}
            (range, seconds) => panic!("{place}: wanted {range:?} seconds, got {seconds:?}"),
        }
    }
}

/// One row as a message, with a parameter.
fn message(name: &str, value: i64) -> ModelInferRequest {
    let mut message = infer::message("m", 1, 4, 0.0);
    let value = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) };
    message.parameters.insert(name.to_owned(), value);
    message
}

/// A header that says nothing.
const NONE: (&str, &str) = ("x-nothing", "1");

#[tokio::test]
async fn what_cannot_be_done_in_time_is_refused_at_once() {
    let mut fleet = fleet(&[("m", model("3s", 1, ""))]).await;
    let _running = sent(fleet.worker("a").unwrap().client().address(), "m").await;
    arrived(&mut fleet, 1, 0).await;
    let shed =
        Refusal { http: 503, grpc: UNAVAILABLE, reason: "shed", refused: "deadline", retry: Some(1..=6) };
    for (place, insider, rest, grpc) in both(&mut fleet) {
        let plain = row(json!({}));
        shed.in_rest((place, insider, rest), ("x-timeout-ms", "1000"), &plain).await;
        shed.in_rest((place, insider, rest), NONE, &row(json!({ "timeout": 1_000_000 }))).await;
        shed.in_grpc((place, insider, grpc.clone()), ("grpc-timeout", "1S"), &message("id", 0)).await;
        shed.in_grpc((place, insider, grpc), NONE, &message("timeout", 1_000_000)).await;
    }
    let refused = count(&mut fleet, "weir_worker_refused_total", &["reason=\"deadline\""]).await;
    assert_eq!(refused, 8.0, "each once: the gateway has no other worker to try");
    fleet.idle().await.unwrap();
    assert_eq!(count(&mut fleet, "weir_worker_forward_seconds_count", &[]).await, 1.0, "none of them ran");
}

#[tokio::test]
async fn the_models_own_timeout_holds_for_requests_that_name_none() {
    let mut fleet = fleet(&[("m", model("3s", 1, "default_timeout = \"500ms\""))]).await;
    let worker = fleet.worker("a").unwrap().client();
    // The first is tried whatever is believed of its time, and found late.
    let first = async { worker.post_json(&infer::path("m"), &row(json!({}))).await.unwrap() };
    let others = async {
        arrived(&mut fleet, 1, 0).await;
        let shed =
            Refusal { http: 503, grpc: UNAVAILABLE, reason: "shed", refused: "deadline", retry: Some(1..=6) };
        for (place, insider, rest, grpc) in both(&mut fleet) {
            shed.in_rest((place, insider, rest), ("x-timeout-ms", "60000"), &row(json!({}))).await;
            shed.in_grpc((place, insider, grpc), NONE, &message("id", 0)).await;
        }
    };
    let (first, ()) = tokio::join!(first, others);
    assert_eq!((first.status, first.header("weir-reason")), (504, "deadline"), "{first}");
    assert_eq!(first.header("weir-refused"), "", "it was begun");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_says_when_there_will_be_room() {
    let mut fleet = fleet(&[("m", model("3s", 1, "max_queue_size = 2"))]).await;
    let address = fleet.worker("a").unwrap().client().address();
    let mut waiting = Vec::new();
    for (in_flight, queued) in [(1, 0), (2, 1), (3, 2)] {
        waiting.push(sent(address, "m").await);
        arrived(&mut fleet, in_flight, queued).await;
    }
    // Three passes before it, of which the first may be nearly over, and its own.
    let full = Refusal {
        http: 503,
        grpc: UNAVAILABLE,
        reason: "queue-full",
        refused: "queue-full",
        retry: Some(6..=12),
    };
    for (place, insider, rest, grpc) in both(&mut fleet) {
        full.in_rest((place, insider, rest), NONE, &row(json!({}))).await;
        full.in_grpc((place, insider, grpc), NONE, &message("id", 0)).await;
    }
    drop(waiting);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_is_told_and_the_request_never_runs() {
    let mut fleet = fleet(&[("slow", model("3s", 1, "")), ("m", model("1ms", 8, ""))]).await;
    let address = fleet.worker("a").unwrap().client().address();
    let running = sent(address, "slow").await;
    arrived(&mut fleet, 1, 0).await;
    // The first of an idle model is tried whatever is believed of the lane's time.
    let late = Refusal { http: 504, grpc: DEADLINE_EXCEEDED, reason: "deadline", refused: "", retry: None };
    for (place, insider, rest, grpc) in both(&mut fleet) {
        late.in_rest((place, insider, rest), ("x-timeout-ms", "300"), &row(json!({}))).await;
        late.in_grpc((place, insider, grpc), ("grpc-timeout", "300m"), &message("id", 0)).await;
    }
    fleet.idle().await.unwrap();
    let model = "model=\"m\"";
    assert_eq!(count(&mut fleet, "weir_worker_dropped_total", &[model, "cause=\"expired\""]).await, 4.0);
    assert_eq!(count(&mut fleet, "weir_worker_dropped_total", &[model]).await, 4.0, "for no other cause");
    let served = fleet.client().post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
    assert_eq!(served.status, 200, "{served}");
    assert_eq!(count(&mut fleet, "weir_worker_forward_seconds_count", &[model]).await, 1.0);
    drop(running);
}

#[tokio::test]
async fn clients_that_hang_up_leave_the_queue_before_a_batch_forms() {
    let mut fleet = fleet(&[("m", model("2s", 64, ""))]).await;
    for (round, (place, _, rest, grpc)) in both(&mut fleet).into_iter().enumerate() {
        let running = sent(fleet.worker("a").unwrap().client().address(), "m").await;
        arrived(&mut fleet, 1, 0).await;
        let (mut leaving, mut calls) = (Vec::new(), JoinSet::new());
        for _ in 0..4 {
            leaving.push(sent(rest.address(), "m").await);
            let grpc = grpc.clone();
            calls.spawn(async move { grpc.infer(&infer::message("m", 1, 4, 0.0)).await.map(|_| ()) });
        }
        arrived(&mut fleet, 9, 8).await;
        drop(leaving);
        calls.shutdown().await;
        arrived_alone(&mut fleet).await;
        let stays = rest.post_json(&infer::path("m"), &infer::rows(1, 4)).await.unwrap();
        assert_eq!(stays.status, 200, "{place}: {stays}");
        fleet.idle().await.unwrap();
        let rounds = (round + 1) as f64;
        let rows = count(&mut fleet, "weir_worker_batch_rows_sum", &[]).await;
        assert_eq!(rows, 2.0 * rounds, "{place}: the first and the last ran, alone");
        assert_eq!(
            count(&mut fleet, "weir_worker_dropped_total", &["cause=\"cancelled\""]).await,
            8.0 * rounds
        );
        assert_eq!(
            count(&mut fleet, "weir_worker_requests_total", &["outcome=\"left\""]).await,
            8.0 * rounds
        );
        drop(running);
    }
}

/// Waits until the worker has noticed that only the request that runs is still wanted.
async fn arrived_alone(fleet: &mut Fleet) {
    let worker = fleet.worker("a").unwrap();
    eventually("the others to be gone", async || {
        let in_flight = worker.in_flight().await?;
        ensure!(in_flight <= 1, "{in_flight} in flight");
        Ok(())
    })
    .await
    .unwrap();
}

/// A way to ask for a priority, and the name by which its answer is told.
type Asking = (&'static str, Box<dyn Future<Output = Result<()>> + Send + Unpin>);

/// One row over REST with a header, or a parameter.
async fn by_rest(
    client: Client,
    header: (&'static str, &'static str),
    parameters: serde_json::Value,
) -> Result<()> {
    let request = Request::post(infer::path("m")).header(header.0, header.1);
    let reply = client.send(request.body(Full::from(row(parameters).to_string()))?).await?;
    ensure!(reply.status == 200, "{reply}");
    Ok(())
}

async fn by_grpc(client: GrpcClient, message: ModelInferRequest) -> Result<()> {
    Ok(client.infer(&message).await.map(|_| ())?)
}

#[tokio::test]
async fn urgent_requests_go_first_wherever_they_come_from() {
    let priorities = "priority_levels = 3\nageing = \"1h\"";
    let mut fleet = fleet(&[("slow", model("4s", 1, "")), ("m", model("200ms", 1, priorities))]).await;
    let running = sent(fleet.worker("a").unwrap().client().address(), "slow").await;
    arrived(&mut fleet, 1, 0).await;
    let [(.., worker, worker_grpc), (.., gateway, gateway_grpc)] = both(&mut fleet);
    let asked: Vec<Asking> = vec![
        ("low", Box::new(Box::pin(by_rest(worker, NONE, json!({ "priority": 3 }))))),
        ("none", Box::new(Box::pin(by_grpc(gateway_grpc.clone(), message("id", 0))))),
        ("header", Box::new(Box::pin(by_rest(gateway, ("x-priority", "1"), json!({}))))),
        ("below", Box::new(Box::pin(by_grpc(worker_grpc, message("priority", 77))))),
        ("body", Box::new(Box::pin(by_rest(gateway, ("x-priority", "3"), json!({ "priority": 1 }))))),
        ("grpc", Box::new(Box::pin(by_grpc(gateway_grpc, message("priority", 1))))),
        ("direct", Box::new(Box::pin(by_rest(worker, ("x-priority", "1"), json!({}))))),
    ];
    let (told, mut order) = mpsc::unbounded_channel();
    let mut calls = JoinSet::new();
    for (index, (name, call)) in asked.into_iter().enumerate() {
        let told = told.clone();
        calls.spawn(async move {
            call.await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let _ = told.send(name);
        });
        arrived(&mut fleet, index as u64 + 2, index as u64 + 1).await;
    }
    drop(told);
    let mut names = Vec::new();
    while let Some(name) = order.recv().await {
        names.push(name);
    }
    assert_eq!(names, ["header", "body", "grpc", "direct", "none", "low", "below"]);
    drop(running);
    fleet.idle().await.unwrap();
}
