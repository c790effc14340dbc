//! Time to read and to write tensors: the codec as the worker calls it, and JSON libraries at the same work.
//!
//! Run with `cargo bench -p weir-protocol`. Throughput counts bytes of the raw tensor, so that forms compare. The
//! figures and what follows from them: docs/adr/0003-json.md.

mod numbers;
mod rivals;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_protocol::{
    InferRequest, InferResponse, Tensor,
    codec::{CodecLimits, decode_request, encode_request, encode_response},
    infer::OutputTensor,
};

use self::numbers::Numbers;

/// Elements of every tensor here: one image of 3x64x64.
const ELEMENTS: u32 = 3 * 64 * 64;

/// Whole bodies with one image, as JSON and in binary form.
fn bodies(criterion: &mut Criterion) {
    let image = numbers::image().tensor();
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![image.clone()],
        outputs: vec![],
        binary_output: true,
    };
    let mut group = criterion.benchmark_group("image_3x64x64_fp32");
    group.throughput(Throughput::Bytes(image.data.len() as u64));
    for (form, binary) in [("json", false), ("binary", true)] {
        let Ok(sent) = encode_request(&request, binary) else { return };
        group.bench_function(format!("decode_request/{form}"), |bencher| {
            bencher.iter(|| decode_request(black_box(&sent.body), sent.json_len, &CodecLimits::default()));
        });
        let response = response(image.clone(), binary);
        group.bench_function(format!("encode_response/{form}"), |bencher| {
            bencher.iter(|| encode_response(black_box(&response)));
        });
    }
    group.finish();
}

/// Arrays of several types and texts, the same by every library.
fn arrays(criterion: &mut Criterion) {
    array(criterion, "fp32", &numbers::image());
    array(criterion, "fp32_as_fp64_text", &numbers::image_from_python());
    array(criterion, "fp64", &numbers::doubles());
    array(criterion, "uint8", &numbers::pixels());
    array(criterion, "int64", &numbers::integers());
}

fn array<T: numbers::Element>(criterion: &mut Criterion, name: &str, numbers: &Numbers<T>) {
    let tensor = numbers.tensor();
    let mut group = criterion.benchmark_group(format!("decode/{name}"));
    group.throughput(Throughput::Bytes(tensor.data.len() as u64));
    let body = Bytes::from(format!(
        r#"{{"inputs":[{{"name":"x","datatype":"{}","shape":[{ELEMENTS}],"data":{}}}]}}"#,
        tensor.datatype, numbers.text
    ));
    group.bench_function("weir", |bencher| {
        bencher.iter(|| decode_request(black_box(&body), None, &CodecLimits::default()));
    });
    rivals::decode(&mut group, numbers);
    group.finish();

    let mut group = criterion.benchmark_group(format!("encode/{name}"));
    group.throughput(Throughput::Bytes(tensor.data.len() as u64));
    let response = response(tensor, false);
    group.bench_function("weir", |bencher| bencher.iter(|| encode_response(black_box(&response))));
    rivals::encode(&mut group, numbers);
    group.finish();
}

fn response(tensor: Tensor, binary: bool) -> InferResponse {
    InferResponse {
        model_name: "m".into(),
        model_version: "1".into(),
        id: None,
        parameters: Default::default(),
        outputs: vec![OutputTensor { tensor, binary }],
    }
}

criterion_group!(benches, bodies, arrays);
criterion_main!(benches);
