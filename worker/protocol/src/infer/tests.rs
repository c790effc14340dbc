//! Tests of the arithmetic of shapes and of a tensor's own check.

use super::*;
use crate::Reason;

fn tensor(datatype: Datatype, shape: &[u64], data: &[u8]) -> Tensor {
    Tensor { name: "x".into(), datatype, shape: shape.to_vec(), data: bytes::Bytes::copy_from_slice(data) }
}

#[test]
fn elements_are_counted_without_overflow() {
    let most = i64::MAX as u64;
    for (shape, count) in [
        (&[][..], Some(1)),
        (&[7], Some(7)),
        (&[2, 3, 4], Some(24)),
        (&[2, 0, 4], Some(0)),
        (&[most], Some(most)),
        (&[most, 1, 0], Some(0)),
        (&[most + 1], None),
        (&[1 << 32, 1 << 31], None),
        (&[1 << 32, 1 << 32], None),
        (&[0, 1 << 32, 1 << 32], None),
    ] {
        assert_eq!(element_count(shape), count, "{shape:?}");
        assert_eq!(tensor(Datatype::Int8, shape, &[]).element_count(), count, "{shape:?}");
    }
    assert_eq!(least_bytes(Datatype::Fp64, &[1 << 61]), None, "elements can be counted where bytes cannot");
}

#[test]
fn a_sound_tensor_of_every_datatype_passes_its_check() {
    for datatype in Datatype::ALL {
        let size = datatype.size().unwrap_or(4);
        assert_eq!(tensor(datatype, &[2, 3], &vec![0; 6 * size]).check(), Ok(()), "{datatype}");
        assert_eq!(tensor(datatype, &[2, 0], &[]).check(), Ok(()), "{datatype}");
        assert_eq!(tensor(datatype, &[], &vec![0; size]).check(), Ok(()), "{datatype}");
    }
    assert_eq!(tensor(Datatype::Bytes, &[2], b"\x02\0\0\0ab\0\0\0\0").check(), Ok(()));
}

#[test]
fn an_unsound_tensor_is_named_with_what_it_needs() {
    for (datatype, shape, data, fault) in [
        (Datatype::Fp32, &[2, 3][..], &[0; 20][..], "shape [2, 3] needs 24 bytes of FP32, there are 20"),
        (Datatype::Uint8, &[], &[0; 2], "shape [] needs 1 bytes of UINT8, there are 2"),
        (Datatype::Int64, &[0], &[0], "shape [0] needs 0 bytes of INT64, there are 1"),
        (Datatype::Bytes, &[2], &[0; 4], "shape [2] needs at least 8 bytes of BYTES, there are 4"),
        (Datatype::Bytes, &[0], &[0; 4], "the shape needs 0 elements of BYTES, there are 1"),
        (Datatype::Uint8, &[1; 65], &[0; 2], "more than 64 dimensions"),
        (Datatype::Bool, &[2], &[1, 7], "element 1 (BOOL): expected the byte 0 or 1, found 7"),
        (
            Datatype::Int8,
            &[1 << 32, 1 << 32],
            &[],
            "shape [4294967296, 4294967296] of INT8 is too large, there are 0",
        ),
    ] {
        let error = tensor(datatype, shape, data).check().unwrap_err();
        assert_eq!((error.reason, error.message), (Reason::BadRequest, format!("tensor 'x': {fault}")));
    }
}

#[test]
fn an_outputs_own_wish_outweighs_the_requests() {
    let output = |name: &str, binary| RequestedOutput { name: name.into(), binary };
    let mut request = InferRequest {
        id: None,
        parameters: Parameters::new(),
        inputs: vec![],
        outputs: vec![output("json", Some(false)), output("binary", Some(true)), output("either", None)],
        binary_output: false,
    };
    let wishes = |request: &InferRequest| {
        ["json", "binary", "either", "unlisted"].map(|name| request.wants_binary(name))
    };
    assert_eq!(wishes(&request), [false, true, false, false]);
    request.binary_output = true;
    assert_eq!(wishes(&request), [false, true, true, true]);
}
