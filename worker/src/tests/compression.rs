//! Compressed requests within their bounds, and compressed answers for those who wish for them.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use http::Request;

use super::fixture::{ECHO, ECHO_ROW, Reply, Repository, Running};

fn gzip(body: impl AsRef<[u8]>) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_ref()).unwrap();
    encoder.finish().unwrap().into()
}

fn deflate(body: impl AsRef<[u8]>) -> Bytes {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_ref()).unwrap();
    encoder.finish().unwrap().into()
}

/// A worker whose `echo` takes rows of any length.
async fn wide(toml: &str) -> Running {
    let text = ECHO.replace("[-1, 2]", "[-1, -1]");
    Running::with(Repository::new().with("echo", &text, &[1]), toml).await
}

/// A request of one row of bytes in binary form, and the length of its JSON part.
fn binary(row: &[u8]) -> (Vec<u8>, usize) {
    let json = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{}],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],
            "outputs":[{{"name":"y","parameters":{{"binary_data":true}}}}]}}"#,
        row.len() / 4,
        row.len()
    );
    ([json.as_bytes(), row].concat(), json.len())
}

async fn post(running: &Running, coding: &str, body: impl Into<Bytes>) -> Reply {
    let request = Request::post("/v2/models/echo/infer").header("content-encoding", coding);
    running.send(request, body).await
}

/// Bytes that compress hardly at all, the same each time (Lehmer).
fn noise(len: usize) -> Vec<u8> {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(48_271) % 0x7fff_ffff;
        seed.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn a_compressed_request_is_answered_as_a_plain_one() {
    let running = Running::start(Repository::echo()).await;
    let plain = running.post("/v2/models/echo/infer", ECHO_ROW).await;
    let (front, back) = ECHO_ROW.split_at(20);
    let members = [gzip(front), gzip(back)].concat();
    for (coding, body) in [
        ("gzip", gzip(ECHO_ROW)),
        ("GZIP", gzip(ECHO_ROW)),
        ("x-gzip", gzip(ECHO_ROW)),
        ("gzip", members.into()),
        ("deflate", deflate(ECHO_ROW)),
        ("identity", ECHO_ROW.into()),
    ] {
        let reply = post(&running, coding, body).await;
        assert_eq!((reply.status, &reply.body), (200, &plain.body), "{coding}: {reply:?}");
        assert_eq!(reply.header("content-encoding"), "");
    }
}

#[tokio::test]
async fn the_length_of_the_json_part_is_that_before_compression_and_large_bodies_work_too() {
    let running = wide("").await;
    for row in [noise(64), noise(3 << 20), vec![7; 900 << 10]] {
        let (body, json_len) = binary(&row);
        for (coding, body) in [("gzip", gzip(&body)), ("deflate", deflate(&body))] {
            let request = Request::post("/v2/models/echo/infer")
                .header("content-encoding", coding)
                .header("inference-header-content-length", json_len);
            let reply = running.send(request, body).await;
            assert_eq!(reply.status, 200, "{coding}: {}", String::from_utf8_lossy(&reply.body));
            let json: usize = reply.header("inference-header-content-length").parse().unwrap();
            assert_eq!(reply.body[json..], row, "{coding}");
        }
    }
    assert_eq!(running.worker.bodies.held().0, 0);
}

#[tokio::test]
async fn other_codings_are_refused_with_those_that_would_do() {
    let running = Running::start(Repository::echo()).await;
    for coding in ["br", "zstd", "gzip, gzip", "deflate, br", "compress"] {
        let reply = post(&running, coding, gzip(ECHO_ROW)).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (415, "unsupported-encoding"), "{coding}");
        assert_eq!(reply.header("accept-encoding"), "gzip, deflate");
        assert!(!reply.error().is_empty());
    }
    running.assert_serves().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_their_coding_says_are_bad_requests() {
    let running = Running::start(Repository::echo()).await;
    let (whole, zlib) = (gzip(ECHO_ROW), deflate(ECHO_ROW));
    let mut wrong_sum = whole.to_vec();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
    raw.write_all(ECHO_ROW.as_bytes()).unwrap();
    let raw = raw.finish().unwrap();
    for (coding, body) in [
        ("gzip", Bytes::from(ECHO_ROW)),
        ("gzip", whole.slice(..whole.len() / 2)),
        ("gzip", whole.slice(..whole.len() - 1)),
        ("gzip", wrong_sum.into()),
        ("gzip", [&whole[..], b"tail"].concat().into()),
        ("gzip", zlib.clone()),
        ("gzip", Bytes::new()),
        ("deflate", whole),
        ("deflate", raw.into()),
        ("deflate", zlib.slice(..zlib.len() - 1)),
        ("deflate", [&zlib[..], b"tail"].concat().into()),
        ("deflate", Bytes::new()),
    ] {
        let reply = post(&running, coding, body.clone()).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{coding}: {body:?}");
        assert!(!reply.error().is_empty());
    }
    running.assert_serves().await;
    assert_eq!(running.worker.bodies.held().0, 0);
}

#[tokio::test]
async fn a_small_body_that_becomes_a_large_one_is_refused_with_what_to_do() {
    let running = Running::with(Repository::echo(), "[limits]\ninflate_factor = 50\n").await;
    let padded = |spaces: usize| format!("{}{ECHO_ROW}", " ".repeat(spaces));
    // Ratios of nearly 1,000.
    let reply = post(&running, "gzip", gzip(padded(4 << 20))).await;
    assert_eq!((reply.status, reply.header("weir-reason")), (413, "body-too-large"));
    let error = reply.error();
    assert!(error.contains("50 times") && error.contains("inflate_factor"), "{error}");
    let small = post(&running, "deflate", deflate(padded(1000 << 10))).await;
    assert_eq!(small.status, 200, "up to 1 MiB any ratio will do: {small:?}");
    assert_eq!(running.worker.bodies.held().0, 0);
}

#[tokio::test]
async fn an_inflated_body_keeps_the_bounds_of_a_plain_one() {
    let limits = "[limits]\nbody_bytes = \"1 MiB\"\nbody_total_bytes = \"1280 KiB\"\n";
    let running = wide(limits).await;
    let reply = post(&running, "gzip", gzip(" ".repeat((1 << 20) + 1))).await;
    assert_eq!((reply.status, reply.header("weir-reason")), (413, "body-too-large"));
    assert!(reply.error().contains("at most"), "{reply:?}");
    // Of the compressed and the inflated body, which are there together, only one fits.
    let (body, json_len) = binary(&noise(700 << 10));
    let request = Request::post("/v2/models/echo/infer")
        .header("content-encoding", "gzip")
        .header("inference-header-content-length", json_len);
    let reply = running.send(request, gzip(&body)).await;
    assert_eq!((reply.status, reply.header("weir-reason")), (503, "memory"));
    assert_eq!(reply.header("weir-refused"), "memory");
    assert_eq!(running.worker.bodies.held().0, 0);
}

#[tokio::test]
async fn an_answer_is_compressed_only_for_who_accepts_nothing_else() {
    let running = wide("").await;
    let (body, json_len) = binary(&noise(2 << 20));
    let ask = async |accept: &str| {
        let request = Request::post("/v2/models/echo/infer")
            .header("accept-encoding", accept)
            .header("inference-header-content-length", json_len);
        running.send(request, body.clone()).await
    };
    let plain = ask("gzip, deflate, br").await;
    for accept in ["gzip, deflate, br", "", "identity", "*", "gzip;q=0"] {
        let reply = ask(accept).await;
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), ("", ""), "{accept}");
        assert_eq!(reply.body, plain.body);
    }
    for coding in ["gzip", "deflate"] {
        let reply = ask(coding).await;
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), (coding, "accept-encoding"));
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        let length = reply.header("inference-header-content-length");
        assert_eq!(length, plain.header("inference-header-content-length"), "that before compression");
        let mut inflated = Vec::new();
        match coding {
            "gzip" => GzDecoder::new(&reply.body[..]).read_to_end(&mut inflated).unwrap(),
            _ => ZlibDecoder::new(&reply.body[..]).read_to_end(&mut inflated).unwrap(),
        };
        assert_eq!(inflated, plain.body);
    }
}

#[tokio::test]
async fn nothing_but_results_is_compressed() {
    let running = Running::start(Repository::echo()).await;
    let asking = |request: http::request::Builder| request.header("accept-encoding", "gzip");
    for path in ["/v2", "/v2/models/echo", "/v2/health/ready", "/v2/load", "/metrics"] {
        let reply = running.send(asking(Request::get(path)), "").await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, ""), "{path}");
    }
    let reply = running.send(asking(Request::post("/v2/models/echo/infer")), "{}").await;
    assert_eq!((reply.status, reply.header("content-encoding")), (400, ""));
    assert!(!reply.error().is_empty());
}
