//! Internal headers: a client can neither speak for the gateway nor listen to the worker.

use http::{HeaderMap, Request};
use http_body_util::Full;
use weir_tests::{Fleet, StubWorker, WorkerSpec, infer};

/// What a client may try to say, and a worker may say that is none of a client's business.
const FROM_CLIENT: [(&str, &str); 9] = [
    ("weir-route", "m;1;other;9"),
    ("weir-request-id", "forged"),
    ("weir-deadline-us", "1"),
    ("weir-bound-us", "1"),
    ("weir-priority", "9"),
    ("weir-token", "guess"),
    ("weir-refused", "draining"),
    ("endpoint-load-metrics", "text"),
    ("endpoint-load-metrics-format", "json"),
];
const FROM_WORKER: [(&str, &str); 6] = [
    ("weir-load", "1;2;3"),
    ("weir-load-device", "1;2"),
    ("weir-secret", "inside"),
    ("endpoint-load-metrics", "cpu_utilization=0.3"),
    ("weir-served", "m;1;stub"),
    ("weir-reason", "for-the-client"),
];

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn fleet(stub: &StubWorker) -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.worker(WorkerSpec { at: stub.address(), ..WorkerSpec::named("stub").unwrap().absent() });
    builder.start().await.unwrap()
}

#[tokio::test]
async fn internal_headers_pass_neither_way() {
    let stub = StubWorker::start("stub", "m", map(&FROM_WORKER)).await.unwrap();
    let fleet = fleet(&stub).await;
    let mut request =
        Request::post(infer::path("m")).body(Full::from(infer::rows(1, 4).to_string())).unwrap();
    request.headers_mut().extend(map(&FROM_CLIENT));
    request.headers_mut().extend(map(&[("x-request-id", "mine"), ("authorization", "Bearer client")]));
    let reply = fleet.client().send(request).await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");

    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    for (name, forged) in FROM_CLIENT {
        let values: Vec<_> = seen[0].headers.get_all(name).iter().collect();
        assert!(values.len() <= 1 && !values.iter().any(|value| *value == forged), "{name}: {values:?}");
    }
    assert_eq!(seen[0].headers["weir-request-id"], "mine");
    assert_eq!(seen[0].path, "/v2/models/m/versions/1/infer");

    let visible: Vec<_> =
        FROM_WORKER.iter().map(|(name, _)| *name).filter(|n| reply.headers.contains_key(*n)).collect();
    assert_eq!(visible, ["weir-served", "weir-reason"]);
    assert_eq!(reply.header("x-request-id"), "mine");
}

#[tokio::test]
async fn a_clients_deadline_reaches_the_worker_as_time_left() {
    let stub = StubWorker::start("stub", "m", HeaderMap::new()).await.unwrap();
    let fleet = fleet(&stub).await;
    let body = Full::from(infer::rows(1, 4).to_string());
    let request = Request::post(infer::path("m")).header("x-timeout-ms", "20000").body(body).unwrap();
    assert_eq!(fleet.client().send(request).await.unwrap().status, 200);
    let left: u64 = stub.seen()[0].headers["weir-deadline-us"].to_str().unwrap().parse().unwrap();
    assert!(left > 0 && left <= 20_000_000, "{left} us");
}

#[tokio::test]
async fn a_clients_priority_reaches_the_worker_in_the_gateways_words() {
    let stub = StubWorker::start("stub", "m", HeaderMap::new()).await.unwrap();
    let fleet = fleet(&stub).await;
    for (value, status) in [("3", 200), ("urgent", 400)] {
        let body = Full::from(infer::rows(1, 4).to_string());
        let request = Request::post(infer::path("m")).header("x-priority", value).body(body).unwrap();
        assert_eq!(fleet.client().send(request).await.unwrap().status, status, "{value}");
    }
    let seen = stub.seen();
    assert_eq!(seen.len(), 1, "what is wrong reaches no worker");
    assert_eq!(seen[0].headers["weir-priority"], "3");
    assert!(!seen[0].headers.contains_key("x-priority"));
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let stub = StubWorker::start("stub", "m", HeaderMap::new()).await.unwrap();
    let fleet = fleet(&stub).await;
    for (method, path, allowed) in
        [(http::Method::GET, infer::path("m"), "POST"), (http::Method::DELETE, "/v2".to_owned(), "GET, HEAD")]
    {
        let reply = fleet.client().call(method, &path).await.unwrap();
        assert_eq!((reply.status, reply.header("allow")), (405, allowed), "{reply}");
    }
}
