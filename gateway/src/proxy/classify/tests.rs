//! Framing, limits and the client's own headers.

use weir_protocol::Bytes;

use super::{super::test_session::session, *};
use crate::tests::{TWO_WORKERS, config};

fn limits() -> Limits {
    config(TWO_WORKERS).limits.clone()
}

async fn framing(fields: &str) -> Result<(), Reason> {
    let head = format!("POST /v2/models/m/infer HTTP/1.1\r\n{fields}\r\n");
    let (session, _client) = session(&head).await;
    check_framing(&session, &limits()).map_err(|error| error.reason)
}

#[tokio::test]
async fn one_way_of_framing_passes() {
    assert_eq!(framing("Host: a\r\nContent-Length: 3\r\n").await, Ok(()));
    assert_eq!(framing("Host: a\r\nTransfer-Encoding: Chunked\r\n").await, Ok(()));
    assert_eq!(framing("Host: a\r\n").await, Ok(()));
}

#[tokio::test]
async fn framing_that_parsers_may_read_differently_is_refused() {
    for fields in [
        "Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\ncontent-length: 3\r\nTRANSFER-ENCODING: chunked\r\n",
        "Host: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        "Host: a\r\nContent-Length: 3, 3\r\n",
        "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\n",
    ] {
        assert_eq!(framing(fields).await, Err(Reason::AmbiguousFraming), "{fields}");
    }
}

#[tokio::test]
async fn headers_above_either_limit_are_refused() {
    let many = (0..129).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(framing(&format!("Host: a\r\n{many}")).await, Err(Reason::HeadersTooLarge));
    let long = format!("Host: a\r\nx-long: {}\r\n", "v".repeat(64 * 1024));
    assert_eq!(framing(&long).await, Err(Reason::HeadersTooLarge));
}

fn fields(name: &'static str, value: &'static str) -> HeaderMap {
    [(name, value)].into_iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
}

#[test]
fn a_body_above_the_limit_is_refused_by_its_stated_length() {
    let limits = Limits { body_bytes: Bytes(100), ..limits() };
    assert_eq!(body_length(&fields("content-length", "100"), &limits), Ok(Some(100)));
    assert_eq!(body_length(&HeaderMap::new(), &limits), Ok(None));
    assert_eq!(
        body_length(&fields("content-length", "101"), &limits).unwrap_err().reason,
        Reason::BodyTooLarge
    );
}

#[test]
fn a_request_id_is_kept_when_it_is_printable_and_short_else_made() {
    assert_eq!(request_id(&fields("x-request-id", "abc")), "abc");
    let made = request_id(&HeaderMap::new());
    assert!(made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    assert_ne!(request_id(&HeaderMap::new()), made);
    assert_eq!(request_id(&fields("x-request-id", "")).len(), 16);
}

#[test]
fn a_clients_priority_must_be_a_whole_number() {
    assert_eq!(client_priority(&fields("x-priority", "3")), Ok(Some(Priority(3))));
    assert_eq!(client_priority(&HeaderMap::new()), Ok(None));
    for bad in ["", "high", "-1", "\u{fc}"] {
        assert_eq!(
            client_priority(&fields("x-priority", bad)).unwrap_err().reason,
            Reason::BadRequest,
            "{bad}"
        );
    }
}

#[test]
fn a_client_timeout_must_be_a_positive_number_of_milliseconds() {
    assert_eq!(client_timeout(&fields("x-timeout-ms", "250")), Ok(Some(Duration::from_millis(250))));
    assert_eq!(client_timeout(&HeaderMap::new()), Ok(None));
    let both = |http: &'static str, grpc: &'static str| {
        let mut both = fields("x-timeout-ms", http);
        both.extend(fields("grpc-timeout", grpc));
        client_timeout(&both)
    };
    assert_eq!(both("250", "2S"), Ok(Some(Duration::from_millis(250))), "the smaller one counts");
    assert_eq!(both("2500", "2S"), Ok(Some(Duration::from_secs(2))));
    assert_eq!(both("2500", "soon").unwrap_err().reason, Reason::BadRequest);
    for bad in ["0", "-1", "soon", "1.5"] {
        assert_eq!(
            client_timeout(&fields("x-timeout-ms", bad)).unwrap_err().reason,
            Reason::BadRequest,
            "{bad}"
        );
    }
}
