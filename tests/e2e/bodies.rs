//! Bodies of every size class survive a repeated attempt byte by byte (docs/adr/0001-body-replay.md).

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use weir_protocol::codec::{CodecLimits, decode_response};
use weir_tests::{Client, Fault, FaultProxy, Fleet, FleetBuilder, Reply, StubWorker, WorkerSpec, infer};

/// Around the size of the proxy library's own buffer (64 KiB), and up to the default replay limit (16 MiB).
const SIZES: [usize; 8] = [700, 65_535, 65_536, 65_537, 66_000, 100_000, 5_000_000, 16 << 20];

fn builder() -> FleetBuilder {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    // Each in turn, so that both are asked.
    builder.gateway.gateway += "\npolicy = \"round_robin\"";
    builder
}

/// Sends a body of exactly `size` bytes and answers the reply with the tensor that was in it.
async fn send(client: Client, size: usize) -> (Reply, Vec<u8>) {
    let data = infer::noise(size - 512);
    let mut body = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"UINT8","shape":[1,{0}],"parameters":{{"binary_data_size":{0}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        data.len()
    )
    .into_bytes();
    body.resize(512, b' ');
    body.extend_from_slice(&data);
    let request = Request::post("/v2/models/m/infer").header("inference-header-content-length", 512);
    let reply = client.send(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    (reply, data)
}

#[track_caller]
fn echoed(reply: &Reply, data: &[u8], what: &str) {
    assert_eq!((reply.status, reply.worker()), (200, "b"), "{what}: {reply}");
    let json_len = reply.header("inference-header-content-length").parse().ok();
    let response = decode_response(&reply.body, json_len, &CodecLimits::default()).unwrap();
    assert!(response.outputs[0].tensor.data == data, "{what}: the worker got another body");
}

#[tokio::test]
async fn a_body_of_any_size_is_sent_again_whole_after_a_broken_attempt() {
    let mut builder = builder();
    let a = WorkerSpec::named("a").unwrap();
    let proxy = FaultProxy::before(a.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..a });
    builder.worker(WorkerSpec::named("b").unwrap());
    let fleet = builder.start().await.unwrap();
    // At the first byte, and after the whole body has reached the worker.
    for fault in [Fault::Reset, Fault::CutAfter(0)] {
        proxy.set(fault);
        for size in SIZES {
            let struck = proxy.struck();
            for _ in 0..2 {
                let (reply, data) = send(fleet.client(), size).await;
                echoed(&reply, &data, &format!("{fault:?}, {size} B"));
            }
            assert!(proxy.struck() > struck, "{fault:?} never struck at {size} B");
        }
    }
}

#[tokio::test]
async fn a_body_of_any_size_is_sent_again_whole_after_a_refusal() {
    let mut builder = builder();
    let refusing: HeaderMap =
        [("weir-refused".parse().unwrap(), "queue-full".parse().unwrap())].into_iter().collect();
    let stub = StubWorker::start("full", "m", refusing).await.unwrap();
    builder.worker(WorkerSpec { at: stub.address(), ..WorkerSpec::named("full").unwrap().absent() });
    builder.worker(WorkerSpec::named("b").unwrap());
    let fleet = builder.start().await.unwrap();
    for size in SIZES {
        let refused = stub.seen().len();
        for _ in 0..2 {
            let (reply, data) = send(fleet.client(), size).await;
            echoed(&reply, &data, &format!("{size} B"));
        }
        assert!(stub.seen().len() > refused, "nothing was refused at {size} B");
    }
}
