//! Going away without losing a request.

use weir_batching::QueueSettings;

use super::fixture::{ECHO_ROW, Repository, Running, queue};

const LIMITS: QueueSettings = queue(1, 64);

#[tokio::test]
async fn what_was_accepted_is_finished_and_what_comes_later_is_refused() {
    let (running, gate) = Running::gated("", LIMITS).await;
    let mut accepted = Vec::new();
    for queued in 0..3 {
        let mut connection = running.connect().await;
        accepted.push(running.spawn(async move { connection.post("/v2/models/echo/infer", ECHO_ROW).await }));
        if queued == 0 {
            gate.entered().await;
        }
        running.queued(queued).await;
    }
    let mut kept = running.connect().await;
    assert_eq!(kept.post("/v2/models/echo/infer", "{}").await.status, 400);
    running.stop();
    let late = kept.post("/v2/models/echo/infer", ECHO_ROW).await;
    assert_eq!(
        (late.status, late.header("weir-refused"), late.header("retry-after")),
        (503, "draining", "1")
    );
    assert_eq!(late.header("connection"), "close");
    kept.closed().await;
    let ready = running.get("/v2/health/ready").await;
    assert_eq!((ready.status, ready.header("weir-reason")), (503, "draining"));
    let report = running.get("/v2/load").await.json();
    assert_eq!((&report["accepting"], &report["models"][0]["state"]), (&false.into(), &"draining".into()));
    gate.open(3);
    for reply in accepted {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    running.ended().await;
}

#[tokio::test]
async fn a_client_that_comes_back_while_the_worker_stops_is_refused_not_cut_off() {
    let running = Running::start(Repository::echo()).await;
    let mut first = running.connect().await;
    assert_eq!(first.post("/v2/models/echo/infer", ECHO_ROW).await.status, 200);
    running.stop();
    // Each answer closes its connection, so between two of them the worker has none.
    for mut connection in [first, running.connect().await, running.connect().await] {
        let reply = connection.post("/v2/models/echo/infer", ECHO_ROW).await;
        assert_eq!((reply.status, reply.header("weir-refused")), (503, "draining"));
        connection.closed().await;
    }
    let again = running.post("/v2/models/echo/infer", ECHO_ROW).await;
    assert_eq!((again.status, again.header("weir-refused")), (503, "draining"));
    running.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_the_worker_ends() {
    let running = Running::start(Repository::echo()).await;
    let mut idle = running.connect().await;
    assert_eq!(idle.post("/v2/models/echo/infer", ECHO_ROW).await.status, 200);
    running.stop();
    idle.closed().await;
    running.ended().await;
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err(), "the listener is still open");
}

#[tokio::test]
async fn the_drain_timeout_cuts_off_a_request_that_does_not_end() {
    let (running, gate) = Running::gated("drain_timeout = \"10ms\"", LIMITS).await;
    let mut connection = running.connect().await;
    let stuck = running.spawn(async move {
        let request = http::Request::post("/v2/models/echo/infer").header("host", "test");
        connection.is_answered(request.body(ECHO_ROW.into()).unwrap()).await
    });
    gate.entered().await;
    running.stop();
    running.worker.shutdown.reached(crate::shutdown::Phase::Closing).await;
    gate.open(1);
    // The forward pass ended within the time that closing connections take, so the answer still arrives.
    assert!(stuck.await.unwrap());
    running.ended().await;
}
