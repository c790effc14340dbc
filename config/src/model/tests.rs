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
        ("", "[batching]\npreferred_batch_size = 8", "11:24 batching.preferred_batch_size ~ such as [8, 32]"),
        (
            "",
            "[batching]\npreferred_batch_size = [2]",
            "11:25 batching.preferred_batch_size[0] ~ from 1 to 1",
        ),
        (
            "max_batch_size = 8",
            "[batching]\npreferred_batch_size = [4, 9]",
            "11:28 batching.preferred_batch_size[1] ~ from 1 to 8",
        ),
        (
            "max_batch_size = 8",
            "[batching]\npreferred_batch_size = [4, 4]",
            "11:24 batching.preferred_batch_size ~ such as [8, 32]",
        ),
        ("", "[batching]\ndefault_timeout = \"0s\"", "11:19 batching.default_timeout ~ from 1ms to 1day"),
        ("", "[batching]\npriority_levels = 17", "11:19 batching.priority_levels ~ from 1 to 16"),
        ("", "[batching]\ndefault_priority = 2", "11:20 batching.default_priority ~ from 1 to 1"),
        ("", "[batching]\nageing = \"2h\"", "11:10 batching.ageing ~ from 1ms to 1h"),
        ("", "[warmup]\npasses = 2", "11:10 warmup.passes ~ from 3 to 100"),
        ("", "[warmup]\nrows = \"fail\"", "11:8 warmup.rows ~ known here: limit, require"),
        ("", "[warmup]\ntolerance_ratio = -0.1", "11:19 warmup.tolerance_ratio ~ from 0 to 1"),
        ("", "[warmup]\nfree_size = 0", "11:13 warmup.free_size ~ from 1 to"),
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

/// A model of batches with these buckets; its first input is padded, and `keys` are those of its second tensor.
fn padded(table: &str, keys: &str) -> String {
    let tokens = "[[input]]\nname = \"tokens\"\ndatatype = \"INT64\"\nshape = [-1, -1]\npad_value = -1\n";
    format!(
        "max_batch_size = 4\n{tokens}[[{table}]]\nname = \"z\"\n{keys}\n{OUTPUT}[batching]\nbuckets = [8, 64]\n"
    )
}

#[test]
fn padding_and_what_it_needs_are_read() {
    let config = parse(&padded("input", "datatype = \"BOOL\"\nshape = [-1, -1]\nmask = true")).unwrap();
    assert_eq!(config.batching.buckets, [8, 64]);
    assert_eq!(config.inputs[0].padding, Padding::Fill((-1_i64).to_le_bytes().into()));
    assert_eq!((&config.inputs[1].padding, config.inputs[1].free_dim()), (&Padding::Mask, Some(1)));
    let config = parse(&padded("output", "datatype = \"FP32\"\nshape = [-1, 3, -1]\nunpad = true")).unwrap();
    assert_eq!((&config.outputs[0].padding, config.outputs[0].free_dim()), (&Padding::Cut, Some(2)));
    assert_eq!((&config.outputs[1].padding, config.outputs[1].free_dim()), (&Padding::None, None));
}

#[test]
fn padding_that_cannot_be_is_told() {
    for (table, keys, expected) in [
        (
            "input",
            "datatype = \"INT64\"\nshape = [-1, -1]\npad_value = 0\nmask = true",
            "12:8 input[1].mask ~ remove one of the two",
        ),
        (
            "input",
            "datatype = \"INT64\"\nshape = [-1, -1, -1]\npad_value = 0",
            "11:13 input[1].pad_value ~ [-1, -1, 768]",
        ),
        (
            "input",
            "datatype = \"INT64\"\nshape = [-1, 8]\npad_value = 0",
            "11:13 input[1].pad_value ~ [-1, -1, 768]",
        ),
        (
            "input",
            "datatype = \"INT64\"\nshape = [-1, -1, 2]\nmask = true",
            "11:8 input[1].mask ~ write shape = [-1, -1]",
        ),
        (
            "output",
            "datatype = \"FP32\"\nshape = [-1, 2]\nunpad = true",
            "11:9 output[0].unpad ~ [-1, -1, 768]",
        ),
        (
            "output",
            "datatype = \"FP32\"\nshape = [-1, -1]\nmask = true",
            "11:1 output[0].mask ~ known here: name",
        ),
    ] {
        let text = padded(table, keys);
        assert_problems(parse(&text), &text, &[expected]);
    }
}

#[test]
fn padding_needs_batches_buckets_and_an_input_that_is_padded() {
    let text = padded("input", "datatype = \"BOOL\"\nshape = [-1, -1]\nmask = true");
    let unbatched = text.replace("max_batch_size = 4", "");
    assert_problems(
        parse(&unbatched),
        &unbatched,
        &[
            "6:13 input[0].pad_value ~ set max_batch_size",
            "11:8 input[1].mask ~ set max_batch_size",
            "17:11 batching.buckets ~ set max_batch_size",
        ],
    );
    let unbucketed = text.replace("buckets = [8, 64]", "buckets = []");
    assert_problems(
        parse(&unbucketed),
        &unbucketed,
        &[
            "6:13 input[0].pad_value ~ add buckets = [32, 128, 512]",
            "11:8 input[1].mask ~ add buckets = [32, 128, 512]",
        ],
    );
    let unfilled = text.replace("pad_value = -1", "");
    assert_problems(parse(&unfilled), &unfilled, &["17:11 batching.buckets ~ give an [[input]] a pad_value"]);
    let descending = text.replace("[8, 64]", "[64, 8]");
    assert_problems(parse(&descending), &descending, &["17:11 batching.buckets ~ such as [32, 128, 512]"]);
    let many = text.replace("[8, 64]", &format!("{:?}", (1..=65).collect::<Vec<_>>()));
    assert_problems(parse(&many), &many, &["17:11 batching.buckets ~ at most 64"]);
}

#[test]
fn a_pad_value_is_one_element_of_its_datatype() {
    for (datatype, value, raw) in [
        ("BOOL", "1", Some(&[1][..])),
        ("BOOL", "2", None),
        ("UINT8", "255", Some(&[255])),
        ("UINT8", "-1", None),
        ("INT8", "-128", Some(&[0x80])),
        ("INT8", "128", None),
        ("UINT16", "65535", Some(&[255, 255])),
        ("INT16", "-2", Some(&[0xfe, 255])),
        ("UINT32", "4294967296", None),
        ("INT32", "-100", Some(&[0x9c, 255, 255, 255])),
        ("INT64", "1.0", None),
        ("UINT64", "-1", None),
        ("FP16", "1", Some(&[0, 0x3c])),
        ("FP16", "65520", None),
        ("BF16", "-1.0", Some(&[0x80, 0xbf])),
        ("FP32", "1e39", None),
        ("FP32", "-0.5", Some(&[0, 0, 0, 0xbf])),
        ("FP64", "1", Some(&[0, 0, 0, 0, 0, 0, 0xf0, 0x3f])),
        ("FP64", "nan", None),
        ("FP64", "inf", None),
    ] {
        let text =
            padded("input", &format!("datatype = \"{datatype}\"\nshape = [-1, -1]\npad_value = {value}"));
        match (parse(&text), raw) {
            (Ok(config), Some(raw)) => {
                assert_eq!(config.inputs[1].padding, Padding::Fill(raw.into()), "{text}")
            }
            (result, None) => {
                let problems = result.expect_err(&text).list;
                let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
                assert_eq!(keys, ["input[1].pad_value"], "{text}");
            }
            (Err(problems), Some(_)) => panic!("{problems} in {text}"),
        }
    }
    let text = padded("input", "datatype = \"BYTES\"\nshape = [-1, -1]\npad_value = 0");
    let text = format!("backend = \"synthetic\"\n{text}");
    assert_problems(parse(&text), &text, &["12:13 input[1].pad_value ~ remove this key"]);
}

#[test]
fn requests_without_a_priority_have_the_middle_one() {
    let priority = |levels: u8| {
        let text = format!("{INPUT}{OUTPUT}[batching]\npriority_levels = {levels}");
        parse(&text).unwrap().batching.default_priority
    };
    assert_eq!([1, 2, 3, 4, 16].map(priority), [1, 1, 2, 2, 8]);
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
