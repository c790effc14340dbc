//! Bad `model.toml` files and exactly what is told about each; good ones and what they mean.

use super::*;
use crate::{reader::tests::assert_problems, tests::fake::Fake};

const INPUT: &str = "[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1, 3]\n";
const OUTPUT: &str = "[[output]]\nname = \"y\"\ndatatype = \"FP32\"\nshape = [-1, 2]\n";

fn parse(text: &str) -> Result<ModelConfig, Problems> {
    ModelConfig::parse_in(text, Path::new("/models/digits/model.toml"), &Fake)
}

#[test]
fn every_problem_is_told_with_its_place_and_what_to_write() {
    for (root, rest, expected) in [
        ("backend = \"onnx\"", "", "1:11 backend ~ known here: torch, synthetic"),
        ("max_batch_size = 65537", "", "1:18 max_batch_size ~ from 0 to 65536"),
        ("lanes = 0", "", "1:9 lanes ~ from 1 to 64"),
        ("version_labels = { 7 = 1 }", "", "1:24 version_labels.7 ~ not only digits"),
        ("version_labels = { new = 0 }", "", "1:26 version_labels.new ~ from 1 to"),
        ("max_batchsize = 8", "", "1:1 max_batchsize ~ did you mean `max_batch_size`?"),
        ("", "[batching]\nmax_queue_delay = 5", "11:19 batching.max_queue_delay ~ such as \"250ms\""),
        ("", "[batching]\nmax_queue_size = 0", "11:18 batching.max_queue_size ~ from 1 to"),
        (
            "max_batch_size = 64",
            "[batching]\nmax_queue_size = 63",
            "11:18 batching.max_queue_size ~ at least 64",
        ),
        ("", "[synthetic]\nbase = \"1ms\"", "10:1 synthetic ~ set backend = \"synthetic\""),
        (
            "backend = \"synthetic\"",
            "[synthetic]\nnoise_ratio = 1.1",
            "11:15 synthetic.noise_ratio ~ from 0 to 1",
        ),
        (
            "backend = \"synthetic\"",
            "[synthetic]\nfailure_ratio = nan",
            "11:17 synthetic.failure_ratio ~ from 0 to 1",
        ),
        ("backend = \"synthetic\"", "[synthetic]\nspeed = 0", "11:9 synthetic.speed ~ above 0"),
        ("backend = \"synthetic\"", "[synthetic]\nspeed = inf", "11:9 synthetic.speed ~ above 0"),
    ] {
        let text = format!("{root}\n{INPUT}{OUTPUT}{rest}");
        assert_problems(parse(&text), &text, &[expected]);
    }
}

#[test]
fn tensors_are_checked() {
    for (max_batch_size, lines, expected) in [
        (0, "name = \"\"\ndatatype = \"FP32\"\nshape = []", "7:8 input[1].name ~ 1 to 128 bytes"),
        (0, "name = \"x\"\ndatatype = \"FP32\"\nshape = []", "7:8 input[1].name ~ a name of its own"),
        (0, "name = \"z\"\ndatatype = \"fp32\"\nshape = []", "8:12 input[1].datatype ~ BOOL"),
        (0, "name = \"z\"\ndatatype = \"BYTES\"\nshape = []", "9:9 input[1].shape ~ [-1] or [-1, 1]"),
        (0, "name = \"z\"\ndatatype = \"FP32\"", "6:1 input[1].shape ~ add shape = [3, 224, 224]"),
        (4, "name = \"z\"\ndatatype = \"FP32\"", "6:1 input[1].shape ~ add shape = [-1, 3, 224, 224]"),
        (0, "name = \"z\"\ndatatype = \"FP32\"\nshape = 3", "9:9 input[1].shape ~ -1 for any size"),
        (0, "name = \"z\"\ndatatype = \"FP32\"\nshape = [-1, -2]", "9:14 input[1].shape[1] ~ from -1 to"),
        (
            4,
            "name = \"z\"\ndatatype = \"FP32\"\nshape = [4, 3]",
            "9:9 input[1].shape ~ begin the shape with -1",
        ),
        (4, "name = \"z\"\ndatatype = \"FP32\"\nshape = []", "9:9 input[1].shape ~ begin the shape with -1"),
        (
            0,
            "name = \"z\"\ndatatype = \"FP32\"\nshape = [1048577, 1048576]",
            "9:9 input[1].shape ~ -1 for any size",
        ),
        (
            0,
            "name = \"z\"\ndatatype = \"FP32\"\nshape = [1]\nlabels = \"l\"",
            "10:1 input[1].labels ~ known here: name",
        ),
    ] {
        let text = format!("max_batch_size = {max_batch_size}\n{INPUT}[[input]]\n{lines}\n{OUTPUT}");
        assert_problems(parse(&text), &text, &[expected]);
    }
}

#[test]
fn a_model_has_at_least_one_input_and_output() {
    let missing = ["1:1 input ~ add [[input]] with name", "1:1 output ~ add [[output]] with name"];
    assert_problems(parse(""), "", &missing);
    let text = "input = []\noutput = []";
    assert_problems(parse(text), text, &missing);
}

#[test]
fn bytes_have_any_shape_in_a_synthetic_model_and_that_of_a_list_in_torch() {
    for (backend, shape, fits) in [
        ("torch", "[-1]", true),
        ("torch", "[3]", true),
        ("torch", "[-1, 1]", true),
        ("torch", "[]", false),
        ("torch", "[-1, 2]", false),
        ("torch", "[-1, -1]", false),
        ("torch", "[-1, 1, 1]", false),
        ("synthetic", "[-1, 2, 3]", true),
        ("synthetic", "[]", true),
    ] {
        let tensors = format!("{INPUT}{OUTPUT}").replace("FP32", "BYTES");
        let tensors = tensors.replace("[-1, 3]", shape).replace("[-1, 2]", shape);
        let text = format!("backend = \"{backend}\"\n{tensors}");
        if fits {
            let config = parse(&text).unwrap();
            assert_eq!(
                (config.inputs[0].datatype, config.outputs[0].datatype),
                (Datatype::Bytes, Datatype::Bytes)
            );
        } else {
            let help = ["5:9 input[0].shape ~ [-1] or [-1, 1]", "9:9 output[0].shape ~ [-1] or [-1, 1]"];
            assert_problems(parse(&text), &text, &help);
        }
    }
}

#[test]
fn the_queue_holds_at_least_one_batch_by_default() {
    let queue = |max_batch_size: u32| {
        let text = format!("max_batch_size = {max_batch_size}\n{INPUT}{OUTPUT}");
        parse(&text).unwrap().batching.max_queue_size
    };
    assert_eq!((queue(0), queue(1024), queue(4096)), (1024, 1024, 4096));
}

#[test]
fn words_for_versions_are_read_and_may_share_one() {
    let labels = "version_labels = { stable = 1, v-2 = 2, next = 2 }";
    let config = parse(&format!("{labels}\n{INPUT}{OUTPUT}")).unwrap();
    let read: Vec<_> = config.version_labels.iter().map(|(l, v)| (l.as_str(), v.number())).collect();
    assert_eq!(read, [("next", 2), ("stable", 1), ("v-2", 2)]);
}

#[test]
fn labels_stand_beside_the_file() {
    let config = parse(&format!("{INPUT}{OUTPUT}labels = \"names.txt\"")).unwrap();
    assert_eq!(config.outputs[0].labels.as_deref(), Some(Path::new("/models/digits/names.txt")));
}

#[test]
fn a_scalar_and_an_empty_dimension_are_shapes_without_batching() {
    for (shape, dims) in [("[]", vec![]), ("[0, 4]", vec![0, 4])] {
        let config = parse(&format!("{}{OUTPUT}", INPUT.replace("[-1, 3]", shape))).unwrap();
        assert_eq!(config.inputs[0].shape, dims);
    }
}
