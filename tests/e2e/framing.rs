//! A request whose end can be read in two ways is refused and its connection closed; nobody else notices.

use http::HeaderMap;
use weir_tests::{Fleet, StubWorker, Synthetic, WorkerSpec, infer, raw::RawConnection};

use crate::load;

/// Header lines that must not pass, each followed by a body that one reading would take for the next request.
const AMBIGUOUS: [(&str, &str); 16] = [
    ("both lengths", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("both lengths, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("two different lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("a list of lengths", "Content-Length: 5, 5\r\n"),
    ("a signed length", "Content-Length: +5\r\n"),
    ("a negative length", "Content-Length: -5\r\n"),
    ("a hexadecimal length", "Content-Length: 0x5\r\n"),
    ("an empty length", "Content-Length: \r\n"),
    ("a length beyond 64 bits", "Content-Length: 99999999999999999999\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("a list of codings", "Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked, then something", "Transfer-Encoding: chunked, identity\r\n"),
    ("a coding that only looks like chunked", "Transfer-Encoding: xchunked\r\n"),
    ("a blank before the colon", "Content-Length : 5\r\n"),
    ("two hosts", "Host: other\r\nContent-Length: 5\r\n"),
];

/// A worker that takes anything and notes it, and a gateway in front of it.
async fn stubbed() -> (StubWorker, Fleet) {
    let stub = StubWorker::start("stub", "m", HeaderMap::new()).await.unwrap();
    let mut builder = Fleet::builder().unwrap();
    builder.worker(WorkerSpec { at: stub.address(), ..WorkerSpec::named("stub").unwrap().absent() });
    (stub, builder.start().await.unwrap())
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_neither_it_nor_what_it_hides_goes_further() {
    let (stub, fleet) = stubbed().await;
    let address = fleet.client().address();
    let body = infer::rows(1, 4).to_string();
    let length = body.len();
    let hidden = format!(
        "POST {} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n{body}",
        infer::path("m")
    );
    let mut wrong = Vec::new();
    for (name, lines) in AMBIGUOUS {
        let mut connection = RawConnection::open(address).await.unwrap();
        let head = format!("POST {} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n", infer::path("m"));
        // Five bytes, and no chunk at all: both readings go on with the hidden request.
        connection.send(format!("{head}0\r\n\r\n{hidden}")).await.unwrap();
        let status = connection.reply().await.map(|reply| reply.status);
        let rest = connection.closed().await.unwrap();
        if !matches!(status, Ok(400)) || !rest.is_empty() {
            wrong.push(format!("{name}: {status:?}, then {:?}", String::from_utf8_lossy(&rest)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // In the open, the worker would have got it.
    let mut connection = RawConnection::open(address).await.unwrap();
    connection.send(hidden).await.unwrap();
    assert_eq!(connection.reply().await.unwrap().status, 200);
    assert_eq!(stub.seen().len(), 1, "a refused request was forwarded");
}

#[tokio::test]
async fn neighbours_of_an_ambiguous_request_notice_nothing() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let run = load::start(fleet.client(), 200.0);
    for (_, lines) in AMBIGUOUS {
        let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
        connection.send(format!("POST /v2/models/m/infer HTTP/1.1\r\nHost: g\r\n{lines}\r\n")).await.unwrap();
        connection.closed().await.unwrap();
        load::more(&run, 10).await;
    }
    run.stop();
    load::none_lost(&run.finish().await);
}

#[tokio::test]
async fn a_header_above_the_limit_is_refused() {
    let fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let long = format!("X-Long: {}\r\n", "a".repeat(70_000));
    let many: String = (0..200).map(|n| format!("X-{n}: a\r\n")).collect();
    for lines in [long, many] {
        let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
        let head = format!("GET /v2/models/m HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n");
        connection.send(head).await.unwrap();
        let reply = connection.reply().await.unwrap();
        assert!(
            reply.status == 431 && reply.head.contains("weir-reason: headers-too-large"),
            "{}",
            reply.head
        );
    }
}
