//! A body far above the replay limit passes through, both ways, without the gateway holding it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Body;
use serde_json::json;
use weir_tests::{Chunks, Fleet, Reply, Synthetic};

/// 100 MiB of FP32 in one row.
const VALUES: usize = 25 << 20;
const BODY: u64 = 100 << 20;
/// How much the gateway's memory may grow: a replay limit's worth and buffers, far below one body.
const GROWTH: u64 = 24 << 20;

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic { width: VALUES, ..Synthetic::default() }).unwrap();
    builder.gateway.limits = "replay_bytes = \"4 MiB\"".to_owned();
    builder.worker(weir_tests::WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

fn head() -> String {
    let size = VALUES * 4;
    let parameters = json!({ "binary_data_size": size });
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, VALUES], "parameters": parameters });
    json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string()
}

async fn send<B>(fleet: &Fleet, json_len: usize, body: B) -> Reply
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let request = Request::post("/v2/models/m/infer").header("inference-header-content-length", json_len);
    fleet.client().send(request.body(body).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_body_of_100_mib_streams_through_with_bounded_memory() {
    let mut fleet = fleet().await;
    let before = fleet.gateway.process().memory().unwrap().resident;

    let mut whole = head().into_bytes();
    let json_len = whole.len();
    whole.resize(json_len + VALUES * 4, 0);
    let reply = send(&fleet, json_len, Full::from(whole)).await;
    assert!(reply.status == 200 && reply.body.len() as u64 > BODY, "with Content-Length: {}", reply.status);

    // The JSON part, padded with blanks to the size of a chunk, then 1,600 chunks of zeros.
    let chunk = 64 << 10;
    let mut first = head().into_bytes();
    first.resize(chunk, b' ');
    let body = Chunks::led_by(first.into(), vec![0; chunk].into(), VALUES * 4 / chunk);
    let reply = send(&fleet, chunk, body).await;
    assert!(reply.status == 200 && reply.body.len() as u64 > BODY, "chunked: {reply}");

    let memory = fleet.gateway.process().memory().unwrap();
    let growth = memory.peak.saturating_sub(before);
    println!("gateway memory: {before} B before, {growth} B more at its highest");
    assert!(growth < GROWTH, "grew by {growth} bytes");
}
