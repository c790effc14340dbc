//! Which tensors a message becomes, and which mistakes of a client are told how.

use std::collections::BTreeMap;

use weir_protocol::{Reason, grpc::model_infer_request::InferRequestedOutputTensor};

use super::*;

fn input(
    name: &str,
    datatype: &str,
    shape: &[i64],
    contents: Option<InferTensorContents>,
) -> InferInputTensor {
    let (name, datatype) = (name.to_owned(), datatype.to_owned());
    InferInputTensor { name, datatype, shape: shape.to_vec(), parameters: BTreeMap::new(), contents }
}

fn read(message: ModelInferRequest) -> Result<InferRequest, OipError> {
    request(message, 64)
}

/// The raw form of one input of two elements with contents.
fn contents(datatype: &str, contents: InferTensorContents) -> Result<Vec<u8>, String> {
    let inputs = vec![input("x", datatype, &[2], Some(contents))];
    let read = read(ModelInferRequest { inputs, ..Default::default() });
    read.map(|request| request.inputs[0].data.to_vec()).map_err(|error| error.message)
}

#[test]
fn every_datatype_has_its_field() {
    type Contents = InferTensorContents;
    let int = |values: [i32; 2]| Contents { int_contents: values.to_vec(), ..Default::default() };
    let uint = |values: [u32; 2]| Contents { uint_contents: values.to_vec(), ..Default::default() };
    let int64 = Contents { int64_contents: vec![i64::MIN, -2], ..Default::default() };
    let uint64 = Contents { uint64_contents: vec![u64::MAX, 2], ..Default::default() };
    let fp32 = Contents { fp32_contents: vec![f32::NAN, -0.0], ..Default::default() };
    let fp64 = Contents { fp64_contents: vec![0.1, f64::INFINITY], ..Default::default() };
    let texts = Contents { bytes_contents: vec!["é".into(), Bytes::new()], ..Default::default() };
    for (datatype, given, expected) in [
        ("BOOL", Contents { bool_contents: vec![true, false], ..Default::default() }, vec![1, 0]),
        ("UINT8", uint([0, 255]), vec![0, 255]),
        ("UINT16", uint([1, 65_535]), vec![1, 0, 255, 255]),
        ("UINT32", uint([1, u32::MAX]), vec![1, 0, 0, 0, 255, 255, 255, 255]),
        ("UINT64", uint64, [u64::MAX, 2].map(u64::to_le_bytes).concat()),
        ("INT8", int([-128, 127]), vec![128, 127]),
        ("INT16", int([-2, 1]), vec![254, 255, 1, 0]),
        ("INT32", int([i32::MIN, 1]), vec![0, 0, 0, 128, 1, 0, 0, 0]),
        ("INT64", int64, [i64::MIN, -2].map(i64::to_le_bytes).concat()),
        ("FP32", fp32, [f32::NAN, -0.0].map(f32::to_le_bytes).concat()),
        ("FP64", fp64, [0.1, f64::INFINITY].map(f64::to_le_bytes).concat()),
        ("BYTES", texts, vec![2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0]),
    ] {
        assert_eq!(contents(datatype, given), Ok(expected), "{datatype}");
    }
}

#[test]
fn elements_that_do_not_fit_are_named() {
    type Contents = InferTensorContents;
    let int = |values: &[i32]| Contents { int_contents: values.to_vec(), ..Default::default() };
    let uint = |values: &[u32]| Contents { uint_contents: values.to_vec(), ..Default::default() };
    let long =
        Contents { bytes_contents: vec![vec![7; 40].into(), vec![7; 40].into()], ..Default::default() };
    let both = Contents { fp32_contents: vec![1.0, 2.0], fp64_contents: vec![1.0], ..Default::default() };
    for (datatype, given, words) in [
        ("INT8", int(&[1, 128]), "element 1: 128 is no INT8"),
        ("INT16", int(&[-32_769, 0]), "element 0: -32769 is no INT16"),
        ("UINT8", uint(&[256, 0]), "element 0: 256 is no UINT8"),
        ("UINT16", uint(&[0, 65_536]), "element 1: 65536 is no UINT16"),
        ("FP32", int(&[1, 2]), "the elements of FP32 go into fp32_contents, found int_contents"),
        ("FP32", both, "go into fp32_contents, found fp64_contents"),
        ("INT32", int(&[1]), "shape [2] needs 8 bytes of INT32, there are 4"),
        ("INT32", Contents::default(), "shape [2] needs 8 bytes of INT32, there are 0"),
        ("BYTES", long, "the elements take more than 64 bytes"),
        ("FP16", Contents::default(), "send FP16 in raw_input_contents"),
        ("BF16", uint(&[1, 2]), "go into raw_input_contents, found uint_contents"),
        ("fp32", Contents::default(), "unknown datatype 'fp32'"),
    ] {
        let fault = contents(datatype, given).unwrap_err();
        assert!(fault.contains("'x'") && fault.contains(words), "{datatype}: {fault}");
    }
}

#[test]
fn raw_elements_belong_to_inputs_in_their_order_and_are_not_copied() {
    let raw: Vec<Bytes> = vec![vec![1; 8].into(), vec![2; 2].into()];
    let inputs = vec![input("a", "FP32", &[2, 1], None), input("b", "BF16", &[], None)];
    let message = ModelInferRequest { inputs, raw_input_contents: raw.clone(), ..Default::default() };
    let request = read(ModelInferRequest {
        inputs: vec![message.inputs[0].clone(), input("b", "BF16", &[1], None)],
        ..message
    })
    .unwrap();
    assert_eq!(request.inputs[1].datatype, Datatype::Bf16);
    for (tensor, raw) in request.inputs.iter().zip(&raw) {
        assert_eq!((tensor.data.as_ptr(), tensor.data.len()), (raw.as_ptr(), raw.len()));
    }
}

#[test]
fn raw_elements_that_fit_no_input_are_refused() {
    let message = |inputs, raw: &[&'static [u8]]| {
        let raw_input_contents = raw.iter().map(|data| Bytes::from_static(data)).collect();
        read(ModelInferRequest { inputs, raw_input_contents, ..Default::default() }).unwrap_err()
    };
    let x = || input("x", "INT16", &[1], None);
    let typed = || input("x", "INT16", &[1], Some(InferTensorContents::default()));
    for (error, words) in [
        (message(vec![x(), x()], &[b"12"]), "2 inputs, 1 raw_input_contents"),
        (message(vec![x()], &[b"12", b"12"]), "1 inputs, 2 raw_input_contents"),
        (message(vec![typed()], &[b"12"]), "input 'x': expected no contents beside raw_input_contents"),
        (message(vec![x()], &[b"123"]), "tensor 'x': shape [1] needs 2 bytes of INT16, there are 3"),
        (message(vec![input("x", "BOOL", &[1], None)], &[b"\x02"]), "expected the byte 0 or 1, found 2"),
        (message(vec![input("x", "BYTES", &[1], None)], &[b"\x05\0\0\0abc"]), "tensor 'x'"),
        (message(vec![input("x", "INT16", &[-1], None)], &[b"12"]), "expected 0 or more, found -1"),
        (message(vec![input("x", "INT16", &[i64::MAX, i64::MAX], None)], &[b"12"]), "is too large"),
    ] {
        assert_eq!(error.reason, Reason::BadRequest);
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn id_parameters_and_outputs_come_through() {
    let choice = |parameter_choice| InferParameter { parameter_choice: Some(parameter_choice) };
    let given = [
        ("b", choice(ParameterChoice::BoolParam(true))),
        ("i", choice(ParameterChoice::Int64Param(-1))),
        ("s", choice(ParameterChoice::StringParam("text".into()))),
        ("d", choice(ParameterChoice::DoubleParam(0.5))),
        ("u", choice(ParameterChoice::Uint64Param(u64::MAX))),
    ];
    let mut parameters: BTreeMap<_, _> =
        given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let sent = parameters.clone();
    parameters.insert("nothing".into(), InferParameter::default());
    let output = InferRequestedOutputTensor { name: "y".into(), parameters: BTreeMap::new() };
    let message =
        ModelInferRequest { id: "7".into(), parameters, outputs: vec![output], ..Default::default() };
    let request = read(message).unwrap();
    assert_eq!((request.id.as_deref(), request.wants_binary("y")), (Some("7"), true));
    assert_eq!(message_parameters(request.parameters), sent);
    assert_eq!(read(ModelInferRequest::default()).unwrap().id, None);
}

#[test]
fn responses_are_always_raw() {
    let data = Bytes::from_static(&[1, 2, 3, 4]);
    let tensor = Tensor { name: "y".into(), datatype: Datatype::Fp16, shape: vec![2, 1], data: data.clone() };
    let outputs = vec![OutputTensor { tensor, binary: false }];
    let (model_name, model_version) = ("m".to_owned(), "3".to_owned());
    let message = response(InferResponse {
        model_name,
        model_version,
        id: None,
        parameters: Parameters::new(),
        outputs,
    });
    assert_eq!((&*message.model_name, &*message.model_version, &*message.id), ("m", "3", ""));
    let output = &message.outputs[0];
    assert_eq!((&*output.name, &*output.datatype, &output.shape), ("y", "FP16", &vec![2, 1]));
    assert_eq!((&output.contents, message.raw_output_contents), (&None, vec![data]));
}
