//! Raw-binary requests: the one input's shape from the body's length, its data from the body's memory.

use proptest::prelude::*;

use super::*;
use crate::{
    Reason,
    codec::{RawInput, decode_raw},
};

fn raw(body: &[u8], datatype: Datatype, shape: &[i64], batched: bool) -> Result<Tensor, OipError> {
    let input = RawInput { name: "x", datatype, shape, batched };
    decode_raw(&Bytes::copy_from_slice(body), &input).map(|mut request| request.inputs.remove(0))
}

#[test]
fn the_shape_follows_from_the_declared_one_and_the_length() {
    for (datatype, shape, batched, length, expected) in [
        (Datatype::Fp32, &[-1, 3, 2][..], true, 24, &[1, 3, 2][..]),
        (Datatype::Fp32, &[-1, 3, -1], true, 36, &[1, 3, 3]),
        (Datatype::Fp32, &[-1, -1], true, 0, &[1, 0]),
        (Datatype::Uint8, &[-1], true, 1, &[1]),
        (Datatype::Uint8, &[-1], false, 7, &[7]),
        (Datatype::Int16, &[2, -1, 2], false, 16, &[2, 2, 2]),
        (Datatype::Fp64, &[], false, 8, &[]),
        (Datatype::Fp16, &[0, 4], false, 0, &[0, 4]),
    ] {
        let tensor = raw(&vec![1; length], datatype, shape, batched).unwrap();
        assert_eq!((tensor.shape.as_slice(), tensor.check()), (expected, Ok(())), "{shape:?}");
        assert_eq!((tensor.name.as_str(), tensor.datatype, tensor.data.len()), ("x", datatype, length));
    }
}

#[test]
fn all_outputs_are_asked_for_in_binary_form_and_the_body_is_not_copied() {
    let body = Bytes::from(vec![7; 64]);
    let input = RawInput { name: "x", datatype: Datatype::Int8, shape: &[-1, 64], batched: true };
    let request = decode_raw(&body, &input).unwrap();
    assert!(request.wants_binary("y") && request.outputs.is_empty() && request.id.is_none());
    assert_eq!(request.inputs[0].data.as_ptr(), body.as_ptr());
}

#[test]
fn bytes_are_one_element_which_is_the_whole_body() {
    for (shape, batched, expected) in [
        (&[1][..], false, &[1][..]),
        (&[-1, 1], true, &[1, 1]),
        (&[-1], true, &[1]),
        (&[-1], false, &[1]),
        (&[], false, &[]),
    ] {
        let tensor = raw(b"\xffab", Datatype::Bytes, shape, batched).unwrap();
        assert_eq!((tensor.shape.as_slice(), tensor.check()), (expected, Ok(())));
        assert_eq!(tensor.data, b"\x03\0\0\0\xffab".to_vec());
    }
    assert_eq!(raw(b"", Datatype::Bytes, &[1], false).unwrap().data, vec![0; 4], "an empty element");
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    for (datatype, shape, batched, body, fault) in [
        (
            Datatype::Fp32,
            &[-1, 3][..],
            true,
            &[0; 13][..],
            "one row of FP32 [-1,3] is 12 bytes, the body has 13",
        ),
        (Datatype::Fp32, &[3], false, &[0; 11], "one row of FP32 [3] is 12 bytes, the body has 11"),
        (
            Datatype::Fp32,
            &[-1, -1, 3],
            true,
            &[0; 13],
            "one row of FP32 [-1,-1,3] is a multiple of 12 bytes, the body has 13",
        ),
        (
            Datatype::Uint8,
            &[-1, -1, -1],
            true,
            &[0; 4],
            "UINT8 [-1,-1,-1] has 2 dimensions of any size besides the batch, a raw request can leave one open: send the JSON part",
        ),
        (Datatype::Bool, &[2], false, &[1, 2], "element 1 (BOOL): expected the byte 0 or 1, found 2"),
        (
            Datatype::Bytes,
            &[-1, 2],
            true,
            b"ab",
            "BYTES [-1,2] is not one element, a raw request of BYTES is: send the JSON part",
        ),
    ] {
        let error = raw(body, datatype, shape, batched).unwrap_err();
        assert_eq!((error.reason, error.message), (Reason::BadRequest, format!("raw input 'x': {fault}")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_body_is_answered_and_what_is_accepted_is_sound(
        body in prop::collection::vec(any::<u8>(), 0..40),
        datatype in prop::sample::select(Datatype::ALL.to_vec()),
        shape in prop::collection::vec(-1..4_i64, 0..4),
        batched in any::<bool>(),
    ) {
        if let Ok(tensor) = raw(&body, datatype, &shape, batched) {
            prop_assert_eq!(tensor.check(), Ok(()));
            prop_assert_eq!(tensor.shape.len(), shape.len());
            if datatype != Datatype::Bytes {
                prop_assert_eq!(tensor.data, body);
            }
        }
    }
}
