//! Properties: what goes through the codec comes out bit for bit, and nothing that comes in makes it panic.

use half::{bf16, f16};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    InferResponse,
    codec::{decode_response, encode_response},
    infer::{OutputTensor, element_count},
};

fn datatypes() -> impl Strategy<Value = Datatype> {
    prop::sample::select(Datatype::ALL.to_vec())
}

/// Raw elements of any bits, strings of any bytes.
fn raw(datatype: Datatype, count: usize) -> BoxedStrategy<Vec<u8>> {
    match datatype {
        Datatype::Bool => vec(0..=1_u8, count).boxed(),
        Datatype::Bytes => vec(vec(any::<u8>(), 0..6), count).prop_map(|all| join(&all)).boxed(),
        _ => vec(any::<u8>(), count * datatype.size().unwrap()).boxed(),
    }
}

fn join(strings: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let one = |s: &[u8]| [&u32::try_from(s.len()).unwrap().to_le_bytes(), s].concat();
    strings.iter().flat_map(|s| one(s.as_ref())).collect()
}

fn tensors() -> impl Strategy<Value = Tensor> {
    (datatypes(), vec(0..4_u64, 0..4), any::<String>())
        .prop_flat_map(|(datatype, shape, name)| {
            let count = usize::try_from(element_count(&shape).unwrap()).unwrap();
            (Just((datatype, shape, name)), raw(datatype, count))
        })
        .prop_map(|((datatype, shape, name), data)| tensor(&name, datatype, &shape, &data))
}

/// Tensors that JSON can carry without loss: strings that are text, one NaN.
fn json_tensors() -> impl Strategy<Value = Tensor> {
    tensors().prop_flat_map(|tensor| {
        let strings = if tensor.datatype == Datatype::Bytes { tensor.element_count().unwrap() } else { 0 };
        vec(any::<String>(), usize::try_from(strings).unwrap()).prop_map(move |strings| {
            let data = match tensor.datatype {
                Datatype::Bytes => join(&strings),
                Datatype::Fp16 => each(&tensor.data, |raw| match f16::from_le_bytes(raw) {
                    value if value.is_nan() => f16::NAN.to_le_bytes(),
                    _ => raw,
                }),
                Datatype::Bf16 => each(&tensor.data, |raw| match bf16::from_le_bytes(raw) {
                    value if value.is_nan() => bf16::NAN.to_le_bytes(),
                    _ => raw,
                }),
                Datatype::Fp32 => each(&tensor.data, |raw| match f32::from_le_bytes(raw) {
                    value if value.is_nan() => f32::NAN.to_le_bytes(),
                    _ => raw,
                }),
                Datatype::Fp64 => each(&tensor.data, |raw| match f64::from_le_bytes(raw) {
                    value if value.is_nan() => f64::NAN.to_le_bytes(),
                    _ => raw,
                }),
                _ => tensor.data.to_vec(),
            };
            Tensor { data: data.into(), ..tensor.clone() }
        })
    })
}

fn each<const N: usize>(data: &[u8], map: fn([u8; N]) -> [u8; N]) -> Vec<u8> {
    data.as_chunks::<N>().0.iter().flat_map(|raw| map(*raw)).collect()
}

/// The same elements nested as the shape says.
fn nest(flat: &[serde_json::Value], shape: &[u64]) -> serde_json::Value {
    match shape.split_first() {
        None => flat[0].clone(),
        Some((&length, inner)) => {
            let step = usize::try_from(element_count(inner).unwrap()).unwrap();
            (0..usize::try_from(length).unwrap()).map(|i| nest(&flat[i * step..][..step], inner)).collect()
        }
    }
}

#[derive(Debug, Clone)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    Repeat(Index, Index),
    JsonLen(usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // Mostly bytes that mean something in JSON, so that decoding gets far.
    let bytes =
        prop_oneof![prop::sample::select(br#"{}[],:"0123456789-.eE\ nNtI"#.to_vec()), any::<u8>()].boxed();
    let one = prop_oneof![
        (any::<Index>(), bytes.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (any::<Index>(), bytes).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        prop_oneof![0..300_usize, any::<usize>()].prop_map(Mutation::JsonLen),
    ];
    vec(one, 1..4)
}

fn mutate(encoded: &Encoded, mutations: &[Mutation]) -> (Bytes, Option<usize>) {
    let (mut body, mut json_len) = (encoded.body.to_vec(), encoded.json_len);
    for mutation in mutations {
        let len = body.len();
        match mutation {
            Mutation::JsonLen(len) => json_len = Some(*len),
            _ if len == 0 => {}
            Mutation::Replace(at, byte) => body[at.index(len)] = *byte,
            Mutation::Insert(at, byte) => body.insert(at.index(len), *byte),
            Mutation::Remove(at) => drop(body.remove(at.index(len))),
            Mutation::Truncate(at) => body.truncate(at.index(len)),
            Mutation::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let part = body[from.min(to)..from.max(to)].to_vec();
                body.splice(from..from, part);
            }
        }
    }
    (body.into(), json_len)
}

/// Both decoders answer, and what they accept is sound.
fn decode_both(body: &Bytes, json_len: Option<usize>) -> Result<(), TestCaseError> {
    let limits = CodecLimits { tensor_bytes: 1 << 16, ..Default::default() };
    if let Ok(request) = decode_request(body, json_len, &limits) {
        for input in request.inputs {
            prop_assert_eq!(input.check(), Ok(()), "{:?}", input);
        }
    }
    if let Ok(response) = decode_response(body, json_len, &limits) {
        for output in response.outputs {
            prop_assert_eq!(output.tensor.check(), Ok(()), "{:?}", output);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_tensor_survives_the_binary_form(inputs in vec(tensors(), 0..4)) {
        let request = request_of(inputs);
        prop_assert_eq!(decode(&encode(&request, |_| true).unwrap()).unwrap(), request);
    }

    #[test]
    fn any_tensor_survives_json(inputs in vec(json_tensors(), 0..4)) {
        let request = request_of(inputs);
        prop_assert_eq!(decode(&encode(&request, |_| false).unwrap()).unwrap(), request);
    }

    #[test]
    fn arbitrary_bytes_are_answered(body in vec(any::<u8>(), 0..200), json_len in any::<Option<u8>>()) {
        decode_both(&body.into(), json_len.map(usize::from))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn both_forms_may_be_mixed_in_one_request(inputs in vec(json_tensors(), 0..6), mask in any::<u64>()) {
        let request = request_of(inputs);
        let encoded = encode(&request, |index| mask >> index & 1 == 1).unwrap();
        prop_assert_eq!(decode(&encoded).unwrap(), request);
    }

    #[test]
    fn responses_survive_with_the_form_of_each_output(outputs in vec((json_tensors(), any::<bool>()), 0..4)) {
        let outputs = outputs.into_iter().map(|(tensor, binary)| OutputTensor { tensor, binary }).collect();
        let response = InferResponse { model_name: "m".into(), model_version: "1".into(), id: None, parameters: Default::default(), outputs };
        let encoded = encode_response(&response).unwrap();
        let read = decode_response(&encoded.body, encoded.json_len, &CodecLimits::default()).unwrap();
        prop_assert_eq!(read, response);
    }

    #[test]
    fn nested_data_reads_as_flat_data_does(shape in vec(1..4_u64, 1..5), seed in any::<i32>()) {
        let count = i32::try_from(element_count(&shape).unwrap()).unwrap();
        let flat: Vec<serde_json::Value> = (0..count).map(|i| seed.wrapping_add(i).into()).collect();
        let shape_text = serde_json::to_string(&shape).unwrap();
        let nested = one_input("INT32", &shape_text, &nest(&flat, &shape).to_string()).unwrap();
        let flat = one_input("INT32", &shape_text, &serde_json::Value::from(flat).to_string()).unwrap();
        prop_assert_eq!(nested, flat);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn damaged_bodies_are_answered(
        inputs in vec(json_tensors(), 0..3), mask in any::<u64>(), mutations in mutations(), as_response in any::<bool>(),
    ) {
        let encoded = if as_response {
            let output = |(index, tensor)| OutputTensor { tensor, binary: mask >> index & 1 == 1 };
            let outputs = inputs.into_iter().enumerate().map(output).collect();
            encode_response(&InferResponse {
                model_name: "m".into(), model_version: "1".into(), id: Some("i".into()), parameters: Default::default(), outputs,
            })
        } else {
            encode(&request_of(inputs), |index| mask >> index & 1 == 1)
        };
        let (body, json_len) = mutate(&encoded.unwrap(), &mutations);
        decode_both(&body, json_len)?;
    }
}
