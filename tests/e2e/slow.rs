//! Clients that wait to be asked for their body, send it slowly, or send it wrongly.

use weir_tests::{
    Fault, FaultProxy, Fleet, Synthetic, WorkerSpec, eventually,
    raw::{RawConnection, RawReply},
};

/// A JSON request of at least `bytes` bytes for the model of [`Synthetic::default`].
fn body(bytes: usize) -> String {
    let mut text = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#.to_owned();
    text.extend(std::iter::repeat_n(' ', bytes.saturating_sub(text.len())));
    text
}

fn head(fields: &str) -> String {
    format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: test\r\n{fields}\r\n\r\n")
}

async fn ask(connection: &mut RawConnection, body: &str) -> RawReply {
    let fields = format!("content-length: {}\r\nexpect: 100-continue", body.len());
    connection.send(head(&fields)).await.unwrap();
    let go_on = connection.reply().await.unwrap();
    assert_eq!(go_on.status, 100, "{}", go_on.head);
    connection.send(body).await.unwrap();
    connection.reply().await.unwrap()
}

#[tokio::test]
async fn a_request_that_waited_for_100_continue_is_repeated_and_keeps_its_connection() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let a = WorkerSpec::named("a").unwrap();
    let proxy = FaultProxy::before(a.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..a });
    builder.worker(WorkerSpec::named("b").unwrap());
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    let mut fleet = builder.start().await.unwrap();
    proxy.set(Fault::Reset);
    let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
    for size in [100, 2_000_000] {
        for _ in 0..4 {
            let reply = ask(&mut connection, &body(size)).await;
            assert!(
                reply.status == 200 && reply.head.contains("weir-served: m;1;b"),
                "{size} B: {}",
                reply.head
            );
        }
    }
    assert!(proxy.struck() > 0);
    fleet.worker("b").unwrap().process().kill().unwrap();
    let reply = ask(&mut connection, &body(100)).await;
    assert!(matches!(reply.status, 502 | 503), "{}", reply.head);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.starts_with(r#"{"error":"#), "{text}");
}

async fn fleet(timeouts: &str) -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.limits = "replay_bytes = \"64 KiB\"".to_owned();
    builder.gateway.timeouts += timeouts;
    builder.start().await.unwrap()
}

#[tokio::test]
async fn a_body_that_drips_is_ended_by_the_request_time_limit_and_holds_nothing() {
    let fleet = fleet("\nrequest = \"1s\"").await;
    let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
    // Too long to be held, so that it streams to the worker byte by byte.
    connection.send(head("content-length: 1000000")).await.unwrap();
    let reply = eventually("an answer to the slow body", async || {
        connection.send(" ").await?;
        tokio::time::timeout(std::time::Duration::from_millis(100), connection.reply()).await?
    });
    let reply = reply.await.unwrap();
    assert_eq!(reply.status, 408, "{}", reply.head);
    eventually("nothing in flight", async || {
        let gauge = weir_tests::metrics::value(fleet.gateway.admin(), "weir_gateway_in_flight_requests", &[]);
        anyhow::ensure!(gauge.await? == 0.0);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_chunked_body_that_breaks_the_encoding_is_the_clients_fault() {
    let fleet = fleet("").await;
    for wrong in ["zz\r\n", "-5\r\nhello\r\n", "fffffffffffffffff\r\n", "5\r\nhelloXX0\r\n\r\n"] {
        let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
        connection.send(head("transfer-encoding: chunked") + wrong).await.unwrap();
        let reply = connection.reply().await.unwrap();
        assert_eq!(reply.status, 400, "{wrong:?}: {}", reply.head);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.starts_with(r#"{"error":"#), "{wrong:?}: {text}");
    }
}
