//! Libtorch itself: types, results of several kinds, failures that must not leak, messages.

use std::io::Write;

use super::*;
use crate::{device::Cpu, tests::archive::torchscript};

/// A module in memory; its model.toml says only what these tests need.
fn module(arguments: &str, returns: &str, body: &str) -> Result<Arc<dyn Backend>, BackendError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&torchscript(arguments, returns, body)).unwrap();
    let tensor = |kind: &str| format!("[[{kind}]]\nname = \"t\"\ndatatype = \"FP32\"\nshape = [-1]\n");
    let config = format!("{}{}", tensor("input"), tensor("output"));
    let config = ModelConfig::parse(&config, Path::new("model.toml")).unwrap();
    load(&config, file.path(), 1)
}

fn input<'a>(datatype: Datatype, shape: &[i64], parts: &[&'a [u8]]) -> InputBatch<'a> {
    InputBatch { datatype, shape: shape.to_vec(), parts: parts.to_vec() }
}

#[test]
fn every_datatype_of_libtorch_goes_through_unchanged() {
    let identity = module("x: Tensor", "Tensor", "return torch.alias(x)").unwrap();
    let _scope = identity.enter_lane();
    for datatype in Datatype::ALL.into_iter().filter(|datatype| kind_of(*datatype).is_some()) {
        let size = datatype.size().unwrap();
        // 0 and 1 are bits of a number in every type, and the only ones that BOOL may have.
        let (first, second) = (vec![1; size], vec![0; 2 * size]);
        let outputs = identity.forward(&[input(datatype, &[3], &[&first, &second])]).unwrap();
        let data = Bytes::from([first.clone(), second.clone()].concat());
        assert_eq!(outputs, [OutputBatch { datatype, shape: vec![3], data }], "{datatype}");
    }
}

#[test]
fn a_tensor_a_tuple_and_a_list_are_results() {
    for (returns, body, count) in [
        ("Tensor", "return torch.neg(x)", 1),
        ("Tuple[Tensor, Tensor]", "return (torch.neg(x), x)", 2),
        ("Tuple[Tensor]", "return (torch.neg(x),)", 1),
        ("List[Tensor]", "return [torch.neg(x), x, x]", 3),
    ] {
        let module = module("x: Tensor", returns, body).unwrap();
        let outputs = module.forward(&[input(Datatype::Int8, &[2], &[&[1, 2]])]).unwrap();
        assert_eq!((outputs.len(), &outputs[0].data[..]), (count, &[255_u8, 254][..]), "{returns}");
    }
}

#[test]
fn other_results_are_named_as_what_they_are_not() {
    for (returns, body) in [("int", "return 3"), ("Dict[str, Tensor]", "return {\"a\": x}")] {
        let module = module("x: Tensor", returns, body).unwrap();
        let error = module.forward(&[input(Datatype::Int8, &[2], &[&[1, 2]])]).unwrap_err();
        assert_eq!(error.summary, "the model must give a tensor, or a tuple or list of tensors");
    }
}

#[test]
fn outputs_that_are_not_contiguous_are_read_in_row_major_order() {
    let transpose = module("x: Tensor", "Tensor", "return torch.t(x)").unwrap();
    let outputs = transpose.forward(&[input(Datatype::Int8, &[2, 3], &[&[1, 2, 3], &[4, 5, 6]])]).unwrap();
    assert_eq!((&outputs[0].shape[..], &outputs[0].data[..]), (&[3, 2][..], &[1, 4, 2, 5, 3, 6][..]));
}

#[test]
fn a_batch_that_does_not_fit_its_shape_never_reaches_libtorch() {
    let identity = module("x: Tensor", "Tensor", "return torch.alias(x)").unwrap();
    for shape in [&[4_i64][..], &[2], &[-3], &[i64::MAX, i64::MAX], &[3, 0]] {
        let error = identity.forward(&[input(Datatype::Int8, shape, &[&[1, 2], &[3]])]).unwrap_err();
        assert_eq!(error.summary, "a batch does not fit its shape", "{shape:?}");
    }
}

#[test]
fn a_model_that_changes_its_input_in_place_does_not_change_the_request() {
    let zero = module("x: Tensor", "Tensor", "return torch.zero_(x)").unwrap();
    let request = vec![1, 2, 3];
    let outputs = zero.forward(&[input(Datatype::Int8, &[3], &[&request])]).unwrap();
    assert_eq!((&outputs[0].data[..], &request[..]), (&[0, 0, 0][..], &[1, 2, 3][..]));
}

#[test]
fn forwards_that_fail_leak_nothing() {
    let fails = module("x: Tensor", "Tensor", "return torch.reshape(x, [7])").unwrap();
    let (megabyte, cpu) = (vec![0; 1 << 20], Cpu::new(weir_protocol::Bytes(u64::MAX)));
    let before = cpu.free();
    for _ in 0..300 {
        let result = fails.forward(&[input(Datatype::Int8, &[1 << 20], &[&megabyte])]);
        assert!(result.unwrap_err().summary.contains("shape '[7]' is invalid"));
    }
    let lost = before.0.saturating_sub(cpu.free().0);
    assert!(lost < 150 << 20, "{lost} of {} bytes were not given back", 300 << 20);
}

#[test]
fn a_wrong_number_of_inputs_is_an_error() {
    let identity = module("x: Tensor", "Tensor", "return torch.alias(x)").unwrap();
    let one = || input(Datatype::Int8, &[1], &[&[1]]);
    assert!(identity.forward(&[one(), one()]).is_err());
    assert!(identity.forward(&[]).is_err());
}

#[test]
fn clients_see_the_message_and_no_path_or_frame() {
    let script = "The following operation failed in the TorchScript interpreter.\n\
                  Traceback of TorchScript (most recent call last):\n  File \"code/__torch__.py\", line 5, in forward\n\
                  RuntimeError: index out of range in self\n\
                  Exception raised from op at /pytorch/aten/src/x.cpp:12 (most recent call first):\nframe #0: c10";
    assert_eq!(summary(script), "RuntimeError: index out of range in self");
    let load = "open file failed, file path: /models/a/1/model.pt\nException raised from x";
    assert_eq!(summary(load), "open file failed, file path: ...");
    assert_eq!(summary(&"x".repeat(1000)).len(), SUMMARY_CHARS);
    assert_eq!(summary(""), "");
}
