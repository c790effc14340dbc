//! Time to decode a request and to encode a response that carry one 3x64x64 FP32 image, as JSON and in binary form.
//!
//! Run with `cargo bench -p weir-protocol`. Throughput is counted in tensor bytes (48 KiB), so that both forms
//! compare directly.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_protocol::{
    Datatype, InferRequest, InferResponse, Tensor,
    codec::{CodecLimits, decode_request, encode_request, encode_response},
    infer::OutputTensor,
};

const SHAPE: [u64; 4] = [1, 3, 64, 64];
const ELEMENTS: u32 = 3 * 64 * 64;

/// Pixels as a client sends them: normalised to about -2 to 2, with all digits of an FP32 in use.
fn image() -> Tensor {
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 22) as f32 - 2.0;
    let data: Vec<u8> = (0..ELEMENTS).flat_map(|i| pixel(i).to_le_bytes()).collect();
    Tensor { name: "image".into(), datatype: Datatype::Fp32, shape: SHAPE.to_vec(), data: data.into() }
}

fn codec(criterion: &mut Criterion) {
    let limits = CodecLimits::default();
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![image()],
        outputs: vec![],
        binary_output: true,
    };
    let mut group = criterion.benchmark_group("image_3x64x64_fp32");
    group.throughput(Throughput::Bytes(u64::from(ELEMENTS) * 4));
    for (form, binary) in [("json", false), ("binary", true)] {
        let Ok(sent) = encode_request(&request, binary) else { return };
        group.bench_function(format!("decode_request/{form}"), |bencher| {
            bencher.iter(|| decode_request(black_box(&sent.body), sent.json_len, &limits));
        });
        let response = InferResponse {
            model_name: "m".into(),
            model_version: "1".into(),
            id: None,
            parameters: Default::default(),
            outputs: vec![OutputTensor { tensor: image(), binary }],
        };
        group.bench_function(format!("encode_response/{form}"), |bencher| {
            bencher.iter(|| encode_response(black_box(&response)));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
