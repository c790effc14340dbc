//! What counts as gRPC, how its statuses read elsewhere, and when a call has ended.

use weir_protocol::grpc::code_of;

use super::*;
use crate::tests::{TWO_WORKERS, config, running};

fn request(version: HttpVersion, kind: &'static str) -> RequestHeader {
    let mut request = RequestHeader::build("POST", b"/x", None).unwrap();
    request.set_version(version);
    request.insert_header(header::CONTENT_TYPE, kind).unwrap();
    request
}

#[test]
fn grpc_is_told_by_its_content_type_and_needs_http_2() {
    let (h1, h2) = (HttpVersion::HTTP_11, HttpVersion::HTTP_2);
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc; x=y"] {
        assert_eq!(spoken(&request(h2, kind)), Ok(true), "{kind}");
        assert_eq!(spoken(&request(h1, kind)).unwrap_err().reason, Reason::UnsupportedEncoding, "{kind}");
    }
    assert_eq!(spoken(&request(h2, "application/grpc-web")).unwrap_err().reason, Reason::UnsupportedEncoding);
    for kind in ["application/json", "application/octet-stream", ""] {
        assert_eq!(
            (spoken(&request(h1, kind)), spoken(&request(h2, kind))),
            (Ok(false), Ok(false)),
            "{kind}"
        );
    }
}

#[test]
fn the_status_of_an_error_reads_as_its_kind_in_metrics() {
    for &reason in Reason::ALL {
        let exchange = Exchange { status: Some(code_of(reason).number().into()), ..Exchange::default() };
        let (told, meant) = (exchange.http_status().unwrap(), reason.status());
        assert_eq!(told >= 500, meant >= 500 || told == 501 || told == 504, "{reason}: {told} for {meant}");
    }
    assert_eq!(Exchange { status: Some(0), ..Exchange::default() }.http_status(), Some(200));
    assert_eq!(Exchange::default().http_status(), None);
}

#[tokio::test]
async fn an_answer_ends_with_a_status_and_gives_back_what_it_held() {
    let (registry, _tasks) = running(config(TWO_WORKERS));
    let call = || {
        let mut ctx = Context::new(registry.snapshot_full(), registry.open_request());
        ctx.grpc.spoken = true;
        ctx.permit = registry.admission().admit();
        ctx
    };
    let mut bare = call();
    assert!(check_end(&mut bare, false).is_ok(), "trailers may still come");
    assert!(check_end(&mut bare, true).is_err());
    assert_eq!(bare.failure.unwrap().reason, Reason::WorkerFailed);

    let mut ended = call();
    note_end(&mut ended, &HeaderMap::new());
    assert!(ended.permit.is_some(), "a header without a status begins an answer");
    let trailers = [(STATUS, "14".parse().unwrap())].into_iter().collect();
    note_end(&mut ended, &trailers);
    assert!(ended.permit.is_none() && check_end(&mut ended, true).is_ok());
    assert_eq!(ended.grpc.http_status(), Some(503));

    let mut rest = call();
    rest.grpc.spoken = false;
    assert!(check_end(&mut rest, true).is_ok(), "over REST a body is how answers end");
}
