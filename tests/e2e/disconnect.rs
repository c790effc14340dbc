//! A client that goes away gives back everything that was held for it.

use std::time::Duration;

use anyhow::ensure;
use weir_tests::{Fleet, Synthetic, eventually, infer, metrics, raw::RawConnection};

fn head(length: usize) -> String {
    format!("POST {} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n", infer::path("m"))
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_holds_nothing() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    // Held until whole, and above the replay limit, where it streams while it comes.
    for length in [100_000, 64 << 20] {
        let mut connections = Vec::new();
        for _ in 0..8 {
            let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
            connection.send(head(length)).await.unwrap();
            connection.send(vec![b' '; length / 2]).await.unwrap();
            connections.push(connection);
        }
        eventually("the requests at the gateway", async || {
            let open = metrics::value(fleet.gateway.admin(), "weir_gateway_open_requests", &[]).await?;
            ensure!(open == 8.0, "{open} open");
            Ok(())
        })
        .await
        .unwrap();
        drop(connections);
        fleet.idle().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_holds_nothing() {
    let slow = Synthetic { base: Duration::from_secs(1), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&slow, &["a"]).await.unwrap();
    let body = infer::rows(1, 4).to_string();
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
        connection.send(head(body.len()) + &body).await.unwrap();
        connections.push(connection);
    }
    eventually("the requests at the worker", async || {
        let in_flight = fleet.worker("a")?.in_flight().await?;
        ensure!(in_flight == 8, "{in_flight}");
        Ok(())
    })
    .await
    .unwrap();
    drop(connections);
    fleet.idle().await.unwrap();
}
