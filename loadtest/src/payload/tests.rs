//! What bodies carry, read back with the protocol's own decoder.

use http_body_util::BodyExt;
use weir_protocol::codec::{CodecLimits, decode_request};

use super::*;

fn call() -> Call {
    Call::of("m".parse().unwrap())
}

fn input(shape: &[u64]) -> InputSpec {
    InputSpec { name: "x".into(), datatype: Datatype::Fp32, shape: shape.into() }
}

async fn decoded(payload: &Payload, index: u64) -> InferRequest {
    let (parts, body) = payload.request(index, "host").unwrap().into_parts();
    let json_len = parts
        .headers
        .get(INFERENCE_HEADER_CONTENT_LENGTH)
        .map(|value| value.to_str().unwrap().parse::<usize>().unwrap());
    let bytes = body.collect().await.unwrap().to_bytes();
    decode_request(&bytes, json_len, &CodecLimits::default()).unwrap()
}

fn floats(request: &InferRequest) -> Vec<f32> {
    request.inputs[0].data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[tokio::test]
async fn samples_fill_rows_in_order_and_wrap_around() {
    let samples = Samples::parse("1,10,11\n2,20,21\n3,30,31\n", 1.0).unwrap();
    for encoding in [Encoding::Json, Encoding::Binary] {
        let payload = Payload::samples(call(), &input(&[2, 2]), &samples, encoding).unwrap();
        assert_eq!(floats(&decoded(&payload, 0).await), [10.0, 11.0, 20.0, 21.0], "{encoding:?}");
        assert_eq!(floats(&decoded(&payload, 1).await), [30.0, 31.0, 10.0, 11.0], "{encoding:?}");
        assert_eq!(
            (payload.labels(0), payload.labels(1), payload.labels(2)),
            (&[1, 2][..], &[3, 1][..], &[1, 2][..])
        );
        assert_eq!(decoded(&payload, 0).await.binary_output, encoding == Encoding::Binary);
    }
}

#[tokio::test]
async fn random_bodies_differ_and_repeat_with_the_seed() {
    let payload = |seed| Payload::random(call(), &[input(&[4])], Encoding::Binary, seed).unwrap();
    let (a, b) = (payload(1), payload(2));
    assert_ne!(decoded(&a, 0).await, decoded(&a, 1).await);
    assert_eq!(decoded(&a, 0).await, decoded(&payload(1), 0).await);
    assert_ne!(decoded(&a, 0).await, decoded(&b, 0).await);
    assert_eq!(decoded(&a, 0).await, decoded(&a, RANDOM_BODIES as u64).await);
}

#[test]
fn large_random_bodies_stay_within_the_memory_bound() {
    let kib = 1 << 10;
    let count =
        |body: u64, most| random_bodies(&[input(&[body / 4])], Encoding::Binary, 1, most).unwrap().len();
    // Each body has a JSON head of some 100 bytes as well.
    assert_eq!(count(20 * kib, 64 << 10), 3);
    assert_eq!(count(80 * kib, 64 << 10), 1, "one is always made");
    assert_eq!(count(kib, 64 << 10), RANDOM_BODIES);
}

#[test]
fn samples_that_do_not_fit_the_input_are_refused() {
    let samples = Samples::parse("1,10,11\n", 1.0).unwrap();
    let error = Payload::samples(call(), &input(&[1, 3]), &samples, Encoding::Json).unwrap_err();
    assert!(matches!(error, PayloadError::SampleWidth { wanted: 3, width: 2, .. }), "{error}");
    let bytes = InputSpec { datatype: Datatype::Uint8, ..input(&[1, 2]) };
    let error = Payload::samples(call(), &bytes, &samples, Encoding::Json).unwrap_err();
    assert!(matches!(error, PayloadError::SampleDatatype { .. }), "{error}");
}

#[test]
fn the_path_names_the_version_only_when_asked_for() {
    let versioned = Call { version: Version::new(2), ..call() };
    assert_eq!(
        (call().path("infer"), versioned.path("")),
        ("/v2/models/m/infer".into(), "/v2/models/m/versions/2".into())
    );
}
