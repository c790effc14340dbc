//! What each accepted form reads as, and what each written form looks like.

use super::*;
use crate::{
    InferResponse,
    codec::{decode_response, encode_request, encode_response},
    infer::{OutputTensor, Parameter, RequestedOutput},
};

fn le<const N: usize, T: Copy>(values: &[T], to_le: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| to_le(*v)).collect()
}

#[test]
fn json_elements_become_little_endian_bytes_of_their_type() {
    for (datatype, data, raw) in [
        ("BOOL", "[true, false]", vec![1, 0]),
        ("UINT8", "[0, 255]", vec![0, 255]),
        ("INT8", "[-128, 127]", vec![0x80, 0x7f]),
        ("UINT16", "[1, 65535]", le(&[1, u16::MAX], u16::to_le_bytes)),
        ("INT16", "[-32768, 32767]", le(&[i16::MIN, i16::MAX], i16::to_le_bytes)),
        ("UINT32", "[1, 4294967295]", le(&[1, u32::MAX], u32::to_le_bytes)),
        ("INT32", "[-2147483648, 2147483647]", le(&[i32::MIN, i32::MAX], i32::to_le_bytes)),
        ("UINT64", "[1, 18446744073709551615]", le(&[1, u64::MAX], u64::to_le_bytes)),
        ("INT64", "[-9223372036854775808, -1]", le(&[i64::MIN, -1], i64::to_le_bytes)),
        ("FP32", "[1, -2.5e-3]", le(&[1.0, -2.5e-3], f32::to_le_bytes)),
        ("FP32", "[NaN, -Infinity]", le(&[f32::NAN, f32::NEG_INFINITY], f32::to_le_bytes)),
        ("FP64", "[0.1, Infinity]", le(&[0.1, f64::INFINITY], f64::to_le_bytes)),
        ("BYTES", r#"["", "a\"\u00e9"]"#, b"\0\0\0\0\x04\0\0\0a\"\xc3\xa9".to_vec()),
    ] {
        let tensor = one_input(datatype, "[2]", data).unwrap();
        assert_eq!(tensor.data, raw, "{datatype} {data}");
        assert_eq!(tensor.check(), Ok(()), "{datatype} {data}");
    }
}

#[test]
fn fp32_is_rounded_once_and_not_by_way_of_fp64() {
    // Just above the midpoint of 1 and the next FP32; as FP64 it is the midpoint itself, which rounds down.
    let tensor = one_input("FP32", "[1]", "[1.00000005960464477540]").unwrap();
    assert_eq!(tensor.data, (1.0_f32 + f32::EPSILON).to_le_bytes().to_vec());
}

#[test]
fn data_may_be_flat_or_nested_as_the_shape_says() {
    let raw: Vec<u8> = (1..=6).collect();
    for (shape, data) in [
        ("[2,3]", "[1,2,3,4,5,6]"),
        ("[2,3]", "[[1,2,3],[4,5,6]]"),
        ("[1,2,3]", "[ [ [1,2,3] , [4,5,6] ] ]"),
        ("[1,2,3]", "[1,2,3,4,5,6]"),
        ("[6]", "[1,2,3,4,5,6]"),
    ] {
        assert_eq!(one_input("UINT8", shape, data).unwrap().data, raw, "{shape} {data}");
    }
    for (shape, data) in [("[0]", "[]"), ("[2,0]", "[[],[]]"), ("[2,0]", "[]"), ("[0,3]", "[]")] {
        assert_eq!(one_input("FP32", shape, data).unwrap().data, Vec::<u8>::new(), "{shape} {data}");
    }
    assert_eq!(one_input("UINT8", "[]", "[7]").unwrap().data, vec![7], "a scalar is one flat element");
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let early = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT16","data":[1,-1]}]}"#;
    let late = r#"{"x":{"data":[[[]]]},"inputs":[{"data":[1,-1],"y":NaN,"datatype":"INT16","shape":[2],"name":"x"}]}"#;
    assert_eq!(json(early), json(late));
    assert_eq!(json(early).unwrap().inputs, [tensor("x", Datatype::Int16, &[2], &[1, 0, 255, 255])]);
}

#[test]
fn binary_inputs_share_the_memory_of_the_body() {
    let text = r#"{"inputs":[
        {"name":"a","datatype":"UINT8","shape":[3],"parameters":{"binary_data_size":3}},
        {"name":"b","datatype":"UINT8","shape":[1],"data":[9]},
        {"name":"c","datatype":"BYTES","shape":[1],"parameters":{"x":[1],"binary_data_size":5}}]}"#;
    let body = Bytes::from([text.as_bytes(), &[1, 2, 3], &[1, 0, 0, 0, b'z']].concat());
    let inputs = decode_request(&body, Some(text.len()), &CodecLimits::default()).unwrap().inputs;
    assert_eq!(inputs[0].data, vec![1, 2, 3]);
    assert_eq!(inputs[1].data, vec![9]);
    assert_eq!(inputs[2].data, b"\x01\0\0\0z".to_vec());
    for (input, offset) in [(&inputs[0], 0), (&inputs[2], 3)] {
        assert_eq!(input.data.as_ptr(), body[text.len() + offset..].as_ptr(), "{} was copied", input.name);
    }
}

#[test]
fn request_level_fields_are_kept_and_binary_wishes_taken_out() {
    let request = json(
        r#" {"id":"r\n1","parameters":{"priority":1,"t":0.5,"big":18446744073709551615,"s":"v","b":true,"n":null,
            "binary_data_output":true},
            "outputs":[{"name":"y","parameters":{"binary_data":false,"classification":3}},{"name":"z"}],
            "inputs":[],"future":{"a":[1,{"b":null}]}} "#,
    )
    .unwrap();
    assert_eq!(request.id.as_deref(), Some("r\n1"));
    let parameters = [
        ("b", Parameter::Bool(true)),
        ("big", Parameter::Uint(u64::MAX)),
        ("priority", Parameter::Int(1)),
        ("s", Parameter::String("v".into())),
        ("t", Parameter::Float(0.5)),
    ];
    assert_eq!(request.parameters, parameters.map(|(name, value)| (name.to_owned(), value)).into());
    assert!(request.binary_output);
    assert_eq!(
        request.outputs,
        [
            RequestedOutput { name: "y".into(), binary: Some(false) },
            RequestedOutput { name: "z".into(), binary: None }
        ]
    );
    assert!(!request.wants_binary("y") && request.wants_binary("z") && request.wants_binary("unlisted"));
}

#[test]
fn null_stands_for_an_absent_optional_field() {
    let nulls = r#"{"id":null,"parameters":null,"outputs":null,
        "inputs":[{"name":"x","datatype":"BOOL","shape":[1],"data":[true],"parameters":null}]}"#;
    let absent = r#"{"inputs":[{"name":"x","datatype":"BOOL","shape":[1],"data":[true]}]}"#;
    assert_eq!(json(nulls), json(absent));
}

fn response() -> InferResponse {
    let output = |tensor, binary| OutputTensor { tensor, binary };
    let floats = le(&[0.1, 1e20, f32::NAN, f32::NEG_INFINITY], f32::to_le_bytes);
    InferResponse {
        model_name: "m".into(),
        model_version: "2".into(),
        id: Some("a\"b".into()),
        parameters: [("final".to_owned(), Parameter::Bool(true))].into(),
        outputs: vec![
            output(tensor("f", Datatype::Fp32, &[2, 2], &floats), false),
            output(tensor("h", Datatype::Fp16, &[1], &[1, 2]), true),
            output(tensor("s", Datatype::Bytes, &[2], b"\0\0\0\0\x02\0\0\0\"\n"), false),
            output(tensor("b", Datatype::Bool, &[2], &[0, 1]), true),
        ],
    }
}

#[test]
fn a_response_is_written_as_the_protocol_says() {
    let encoded = encode_response(&response()).unwrap();
    let expected = concat!(
        r#"{"model_name":"m","model_version":"2","id":"a\"b","parameters":{"final":true},"outputs":["#,
        r#"{"name":"f","datatype":"FP32","shape":[2,2],"data":[0.1,1e+20,NaN,-Infinity]},"#,
        r#"{"name":"h","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}},"#,
        r#"{"name":"s","datatype":"BYTES","shape":[2],"data":["","\"\n"]},"#,
        r#"{"name":"b","datatype":"BOOL","shape":[2],"parameters":{"binary_data_size":2}}]}"#,
    );
    let (json, raw) = encoded.body.split_at(encoded.json_len.unwrap());
    assert_eq!(std::str::from_utf8(json).unwrap(), expected);
    assert_eq!(raw, [1, 2, 0, 1]);
}

#[test]
fn a_client_reads_back_the_response() {
    let sent = response();
    let encoded = encode_response(&sent).unwrap();
    let read = decode_response(&encoded.body, encoded.json_len, &CodecLimits::default()).unwrap();
    assert_eq!(read, sent);
}

#[test]
fn a_worker_reads_back_the_request() {
    let mut request = request_of(vec![
        tensor("a", Datatype::Int64, &[1], &[1; 8]),
        tensor("b", Datatype::Bytes, &[1], b"\x01\0\0\0z"),
    ]);
    request.id = Some("1".into());
    request.parameters.insert("p".into(), Parameter::String("q".into()));
    request.outputs = vec![RequestedOutput { name: "y".into(), binary: Some(true) }];
    request.binary_output = true;
    let bare = InferRequest { binary_output: true, ..request_of(vec![]) };
    assert_eq!(decode(&encode_request(&bare, false).unwrap()).unwrap(), bare);
    for binary in [false, true] {
        let encoded = encode_request(&request, binary).unwrap();
        assert_eq!(encoded.json_len.is_some(), binary);
        assert_eq!(decode(&encoded).unwrap(), request);
    }
    let mixed = encode(&request, |index| index == 1).unwrap();
    assert_eq!(decode(&mixed).unwrap(), request);
    assert_eq!(binary("{\"inputs\":[]}", &[]).unwrap().inputs, []);
}
