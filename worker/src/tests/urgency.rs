//! Who goes first, who is told at once that there is no time, and that both are counted.

use std::time::Duration;

use http::Request;
use tokio::sync::{
    mpsc,
    oneshot::{self, Receiver},
};
use weir_batching::{BatchCost, QueueSettings, ShapeKey};

use super::fixture::{ECHO, ECHO_ROW, Gate, Reply, Running, queue};

/// Peers that are no gateways.
const STRANGERS: &str = "[gateway]\ntrusted = []";
/// Three priorities, 2 where a request names none.
const PRIORITIES: &str = "[batching]\npriority_levels = 3";
/// The head of a request for one row.
const INFER: &str = "/v2/models/echo/infer";

/// A queue of single rows in which nobody rises.
fn steady() -> QueueSettings {
    QueueSettings { ageing: Duration::from_secs(3600), ..queue(1, 16) }
}

/// A queue whose batches are known to take ten seconds.
fn slow() -> QueueSettings {
    let cost = BatchCost { base: Duration::from_secs(10), per_unit: Duration::from_micros(1) };
    QueueSettings { costs: vec![(ShapeKey::default(), cost)], ..queue(1, 16) }
}

/// A row that can be told from others, with parameters.
fn row(value: u32, parameters: &str) -> String {
    ECHO_ROW.replace("1.5", &value.to_string()).replacen(
        '{',
        &format!("{{\"parameters\":{{{parameters}}},"),
        1,
    )
}

/// Sends a request that occupies the lane, and waits until it does.
async fn occupy(running: &Running, gate: &Gate) -> Receiver<Reply> {
    let mut connection = running.connect().await;
    let first = running.spawn(async move { connection.post(INFER, ECHO_ROW).await });
    gate.entered().await;
    first
}

/// Queues requests, given as headers and parameters, behind one that runs; answers in which order they ran.
async fn order(toml: &str, requests: &[(&'static [(&str, &str)], &str)]) -> Vec<u64> {
    let (running, gate) = Running::gated_as(&format!("{ECHO}{PRIORITIES}"), toml, steady()).await;
    let first = occupy(&running, &gate).await;
    let (done, mut order) = mpsc::unbounded_channel();
    for (index, (headers, parameters)) in requests.iter().enumerate() {
        let mut connection = running.connect().await;
        let body = row(u32::try_from(index).unwrap(), parameters);
        let mut request = Request::post(INFER).header("host", "test");
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let (request, done) = (request.body(http_body_util::Full::from(body)).unwrap(), done.clone());
        running.tasks().spawn("queued", async move {
            let reply = connection.send(request).await;
            _ = done.send(reply.json()["outputs"][0]["data"][0].as_f64().unwrap() as u64);
        });
        running.queued(index as u64 + 1).await;
    }
    gate.open(1);
    assert_eq!(first.await.unwrap().status, 200);
    let mut ran = Vec::new();
    for _ in requests {
        gate.open(1);
        ran.push(order.recv().await.unwrap());
    }
    ran
}

#[tokio::test]
async fn requests_go_by_priority_wherever_it_is_named_and_by_arrival_among_equals() {
    let ran = order(
        "",
        &[
            (&[], "\"priority\": 3"),
            (&[], ""),
            (&[("x-priority", "0")], ""),
            (&[("weir-priority", "1"), ("x-priority", "3")], ""),
            (&[("x-priority", "3")], "\"priority\": \"1\""),
            (&[("x-priority", "9")], ""),
            (&[("x-priority", "1")], ""),
        ],
    );
    assert_eq!(ran.await, [3, 4, 6, 1, 2, 0, 5]);
}

#[tokio::test]
async fn a_stranger_cannot_speak_for_a_gateway_but_for_itself() {
    let ran = order(
        STRANGERS,
        &[
            (&[("weir-priority", "1")], ""),
            (&[("weir-priority", "urgent")], ""),
            (&[("weir-priority", "3"), ("x-priority", "1")], ""),
        ],
    );
    assert_eq!(ran.await, [2, 0, 1]);
}

#[tokio::test]
async fn a_priority_that_is_no_number_is_a_mistake() {
    let running = Running::start(super::fixture::Repository::echo()).await;
    for name in ["x-priority", "weir-priority"] {
        for value in ["", "high", "-1", "1.0"] {
            let reply = running.send(Request::post(INFER).header(name, value), ECHO_ROW).await;
            assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{name} {value}");
            assert!(
                reply.error().starts_with(&format!("{name} must be a whole number")),
                "{}",
                reply.error()
            );
        }
    }
}

/// Checks that a request was told at once that it has no chance, and when to come again.
fn assert_shed(reply: &Reply, what: &str) {
    assert_eq!((reply.status, reply.header("weir-reason")), (503, "shed"), "{what}: {reply:?}");
    assert_eq!(reply.header("weir-refused"), "deadline", "{what}");
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((2..=20).contains(&seconds), "{what}: {seconds} s, with ten of them before it at most twice");
}

#[tokio::test]
async fn what_cannot_be_done_in_time_is_refused_however_the_time_is_named() {
    let (running, gate) = Running::gated("", slow()).await;
    let first = occupy(&running, &gate).await;
    for (name, value, body) in [
        ("weir-deadline-us", "1000000", "this is not even read".to_owned()),
        ("x-timeout-ms", "1000", "this is not even read".to_owned()),
        ("x-timeout-ms", "1000000", row(1, "\"timeout\": 1000000")),
    ] {
        let reply = running.send(Request::post(INFER).header(name, value), body).await;
        assert_shed(&reply, name);
    }
    gate.open(1);
    assert_eq!(first.await.unwrap().status, 200);
    let page = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        // The first two too, of which nothing but the head was read.
        r#"weir_worker_requests_total{model="echo",version="1",outcome="shed"} 3"#,
        r#"weir_worker_refused_total{reason="deadline"} 3"#,
        r#"weir_worker_forward_seconds_count{model="echo",version="1"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn the_models_own_timeout_counts_when_a_request_names_none_or_a_longer_one() {
    let toml = format!("{ECHO}[batching]\ndefault_timeout = \"1s\"");
    let (running, gate) = Running::gated_as(&toml, "", slow()).await;
    // Tried, since nothing is known yet that could be wrong; nobody waits for it beyond its time.
    let first = occupy(&running, &gate).await;
    assert_shed(&running.post(INFER, ECHO_ROW).await, "none");
    let longer = Request::post(INFER).header("x-timeout-ms", "3600000");
    assert_shed(&running.send(longer, ECHO_ROW).await, "longer");
    let late = first.await.unwrap();
    assert_eq!((late.status, late.header("weir-reason"), late.header("weir-refused")), (504, "deadline", ""));
    gate.open(1);
    running.in_flight(0).await;
}

#[tokio::test]
async fn time_at_other_workers_counts_from_what_the_request_and_its_model_allow() {
    let toml = format!("{ECHO}[batching]\ndefault_timeout = \"1h\"");
    for (trust, parameters, waited, status) in [
        ("", "\"timeout\": 60000000", "60000000", 504),
        ("", "", "3600000000", 504),
        ("", "\"timeout\": 60000000", "1000", 200),
        (STRANGERS, "\"timeout\": 60000000", "60000000", 200),
    ] {
        let (running, gate) = Running::gated_as(&toml, trust, queue(4, 16)).await;
        gate.open(1);
        let request = Request::post(INFER).header("weir-waited-us", waited);
        let reply = running.send(request, row(1, parameters)).await;
        assert_eq!(reply.status, status, "{trust} {parameters} {waited}: {reply:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_such() {
    let (running, gate) = Running::gated("", queue(4, 16)).await;
    let first = occupy(&running, &gate).await;
    let mut connection = running.connect().await;
    let (leave, left) = oneshot::channel::<()>();
    let leaving = running.spawn(async move {
        tokio::select! {
            _ = connection.post(INFER, ECHO_ROW) => panic!("answered"),
            _ = left => {}
        }
    });
    running.queued(1).await;
    leave.send(()).unwrap();
    leaving.await.unwrap();
    running.in_flight(1).await;
    gate.open(1);
    assert_eq!(first.await.unwrap().status, 200);
    loop {
        let page = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
        // A lane finds the ticket after its batch.
        if page.contains(r#"weir_worker_dropped_total{model="echo",version="1",cause="cancelled"} 1"#) {
            assert!(page.contains(r#"requests_total{model="echo",version="1",outcome="left"} 1"#), "{page}");
            break;
        }
    }
    let stats =
        running.get("/v2/models/echo/stats").await.json()["model_stats"][0]["inference_stats"].clone();
    assert_eq!((&stats["success"]["count"], &stats["fail"]["count"]), (&1.into(), &1.into()), "{stats}");
}
