//! Libtorch itself: types, results of several kinds, failures that must not leak, messages.

use std::io::Write;

use bytes::Bytes;

use super::*;
use crate::{device::Cpu, tests::archive::torchscript};

/// A module in memory; its model.toml says only what these tests need.
fn module(arguments: &str, returns: &str, body: &str) -> Result<Arc<dyn Backend>, BackendError> {
    module_with(&[("t", "FP32", "[-1]")], arguments, returns, body)
}

/// A module whose model.toml has outputs of the given names, datatypes and shapes.
fn module_with(
    outputs: &[(&str, &str, &str)],
    arguments: &str,
    returns: &str,
    body: &str,
) -> Result<Arc<dyn Backend>, BackendError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&torchscript(arguments, returns, body)).unwrap();
    let tensor = |kind: &str, (name, datatype, shape): (&str, &str, &str)| {
        format!("[[{kind}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = {shape}\n")
    };
    let outputs: String = outputs.iter().map(|output| tensor("output", *output)).collect();
    let config = format!("{}{outputs}", tensor("input", ("t", "FP32", "[-1]")));
    let config = ModelConfig::parse(&config, Path::new("model.toml")).unwrap();
    load(&config, file.path())
}

/// Elements of BYTES in raw form.
fn raw(texts: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    texts.iter().for_each(|text| infer::push_string(&mut data, text.as_bytes()).unwrap());
    data
}

fn input<'a>(datatype: Datatype, shape: &[i64], parts: &[&'a [u8]]) -> InputBatch<'a> {
    InputBatch::whole(datatype, shape.to_vec(), parts.to_vec())
}

#[test]
fn every_datatype_of_libtorch_goes_through_unchanged() {
    let identity = module("x: Tensor", "Tensor", "return torch.alias(x)").unwrap();
    let _scope = enter_lane(1);
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
    for (returns, body) in [
        ("int", "return 3"),
        ("List[int]", "return [3]"),
        ("Dict[int, Tensor]", "return {1: x}"),
        ("Tuple[Tensor, int]", "return (x, 3)"),
        ("List[List[List[str]]]", "return [[[\"a\"]]]"),
    ] {
        let module = module("x: Tensor", returns, body).unwrap();
        let error = module.forward(&[input(Datatype::Int8, &[2], &[&[1, 2]])]).unwrap_err();
        assert!(
            error.summary.starts_with("the model must give tensors or lists of texts"),
            "{returns}: {error}"
        );
    }
}

#[test]
fn the_entries_of_a_dict_are_outputs_by_name() {
    let outputs = [("b", "INT8", "[-1]"), ("a", "BYTES", "[-1]")];
    let body = "return {\"a\": [\"one\", \"two\"], \"left\": 3, \"b\": torch.neg(x)}";
    let dict = module_with(&outputs, "x: Tensor", "Dict[str, Any]", body).unwrap();
    let given = dict.forward(&[input(Datatype::Int8, &[2], &[&[1, 2]])]).unwrap();
    assert_eq!((&given[0].data[..], &given[1].data[..]), (&[255_u8, 254][..], &raw(&["one", "two"])[..]));
    let without =
        module_with(&outputs, "x: Tensor", "Dict[str, Tensor]", "return {\"b\": x, \"c\": x}").unwrap();
    let error = without.forward(&[input(Datatype::Int8, &[2], &[&[1, 2]])]).unwrap_err();
    assert_eq!(error.summary, "the model gave no output 'a'; it gave 'c'");
}

#[test]
fn texts_go_in_as_one_list_and_come_back_in_the_shape_that_model_toml_names() {
    for (shape, expected) in [("[-1]", &[3_i64][..]), ("[-1, 1]", &[3, 1])] {
        let echo = module_with(&[("t", "BYTES", shape)], "x: List[str]", "List[str]", "return x").unwrap();
        let (one, two) = (raw(&["", "caf\u{e9}"]), raw(&["x y"]));
        let given = echo.forward(&[input(Datatype::Bytes, expected, &[&one, &two])]).unwrap();
        let data = Bytes::from([one, two].concat());
        assert_eq!(given, [OutputBatch { datatype: Datatype::Bytes, shape: expected.to_vec(), data }]);
    }
}

#[test]
fn texts_stand_beside_tensors_and_a_single_one_is_a_list_of_one() {
    let outputs = [("words", "BYTES", "[-1]"), ("lengths", "INT64", "[-1]"), ("first", "BYTES", "[-1]")];
    let body = "lengths = torch.tensor([len(x[0]), len(x[1])])\nreturn (x, lengths, x[0])";
    let both = module_with(&outputs, "x: List[str]", "Tuple[List[str], Tensor, str]", body).unwrap();
    let words = raw(&["three", "fore!!"]);
    let given = both.forward(&[input(Datatype::Bytes, &[2], &[&words])]).unwrap();
    assert_eq!((&given[0].data[..], &given[2].data[..]), (&words[..], &raw(&["three"])[..]));
    assert_eq!((&given[1].shape[..], given[1].data[0], given[1].data[8]), (&[2][..], 5, 6));
    assert_eq!(given[2].shape, [1]);
}

#[test]
fn an_empty_list_is_the_one_output_of_texts_or_no_output_at_all() {
    let nothing = raw(&[]);
    for (datatype, count) in [("BYTES", 1), ("FP32", 0)] {
        let outputs = [("t", datatype, "[-1]")];
        let empty = module_with(&outputs, "x: List[str]", "List[str]", "return x").unwrap();
        let given = empty.forward(&[input(Datatype::Bytes, &[0], &[&nothing])]).unwrap();
        assert_eq!(given.len(), count, "{datatype}");
    }
}

#[test]
fn a_text_with_a_nul_is_an_error_and_not_half_a_text() {
    let body = "return [torch.add(x[0], \"\\000tail\")]";
    let nul = module_with(&[("t", "BYTES", "[-1]")], "x: List[str]", "List[str]", body);
    let error = nul.unwrap().forward(&[input(Datatype::Bytes, &[1], &[&raw(&["head"])])]).unwrap_err();
    assert!(error.summary.contains("NUL"), "{error}");
    let echo = module_with(&[("t", "BYTES", "[-1]")], "x: List[str]", "List[str]", "return x").unwrap();
    let error = echo.forward(&[input(Datatype::Bytes, &[1], &[&raw(&["a\0b"])])]).unwrap_err();
    assert!(error.summary.contains("NUL"), "{error}");
}

#[test]
fn texts_that_do_not_fit_their_shape_never_reach_libtorch() {
    let echo = module_with(&[("t", "BYTES", "[-1]")], "x: List[str]", "List[str]", "return x").unwrap();
    let (two, mut cut) = (raw(&["a", "b"]), raw(&["a", "b"]));
    cut.truncate(cut.len() - 1);
    for (shape, data) in [(&[3_i64][..], &two), (&[1], &two), (&[-2], &two), (&[2], &cut)] {
        let error = echo.forward(&[input(Datatype::Bytes, shape, &[data])]).unwrap_err();
        assert_eq!(error.summary, "a batch does not fit its shape", "{shape:?}");
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
    let tensors = module("x: Tensor", "Tensor", "return torch.reshape(x, [7])").unwrap();
    let texts = module("x: List[str]", "Tensor", "return torch.zeros([len(x[9])])").unwrap();
    let (megabyte, cpu) = (vec![0; 1 << 20], Cpu::new(weir_protocol::Bytes(u64::MAX)));
    let text = raw(&[&"x".repeat(1 << 20)]);
    let before = cpu.free();
    for _ in 0..300 {
        let result = tensors.forward(&[input(Datatype::Int8, &[1 << 20], &[&megabyte])]);
        assert!(result.unwrap_err().summary.contains("shape '[7]' is invalid"));
        let result = texts.forward(&[input(Datatype::Bytes, &[1], &[&text])]);
        assert!(result.unwrap_err().summary.contains("out of range"));
    }
    let lost = before.0.saturating_sub(cpu.free().0);
    assert!(lost < 150 << 20, "{lost} of {} bytes were not given back", 600 << 20);
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
