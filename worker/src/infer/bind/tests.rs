//! A property over every request: what passes is in the model's order and fits it. The messages are tested end to end
//! in `tests::bad_input`.

use std::time::Duration;

use weir_config::model::Padding;
use weir_protocol::{
    Datatype, Version,
    infer::{Parameter, Parameters},
};

use super::*;
use crate::model::{Terms, length::Length};

fn spec() -> ModelSpec {
    let tensor = |name: &str, shape: &[i64]| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Uint8,
        shape: shape.to_vec(),
        labels: None,
        padding: Padding::None,
    };
    ModelSpec {
        name: "m".parse().unwrap(),
        version: Version::new(1).unwrap(),
        batched: true,
        max_rows: 3,
        max_request_rows: 4,
        buckets: Vec::new(),
        terms: Terms::default(),
        takes_texts: false,
        inputs: vec![tensor("a", &[-1, 2]), tensor("b", &[-1, -1, 1, -1])],
        outputs: vec![tensor("y", &[-1]), tensor("z", &[-1])],
    }
}

fn tensor(name: &str, shape: &[u64]) -> Tensor {
    let len = shape.iter().product::<u64>();
    let data = vec![u8::from(name == "b"); usize::try_from(len).unwrap()];
    Tensor { name: name.to_owned(), datatype: Datatype::Uint8, shape: shape.to_vec(), data: data.into() }
}

fn request(inputs: Vec<Tensor>) -> InferRequest {
    InferRequest { id: None, parameters: Parameters::new(), inputs, outputs: vec![], binary_output: false }
}

#[test]
fn inputs_are_put_into_the_models_order_and_free_dimensions_make_the_key() {
    let bound = bind(&spec(), request(vec![tensor("b", &[2, 5, 1, 7]), tensor("a", &[2, 2])])).unwrap();
    assert_eq!((bound.whole.rows, &bound.shape), (2, &ShapeKey(Box::new([5, 7]))));
    assert_eq!(bound.whole.shapes, [vec![2, 2], vec![2, 5, 1, 7]]);
    assert_eq!((&bound.whole.inputs[0][..], bound.whole.inputs[1].len()), (&[0_u8; 4][..], 70));
    assert_eq!(bound.answer.outputs, [(0, false), (1, false)]);
}

#[test]
fn rows_share_a_batch_only_when_every_free_dimension_is_equal() {
    let key =
        |b: &[u64]| bind(&spec(), request(vec![tensor("a", &[b[0], 2]), tensor("b", b)])).unwrap().shape;
    assert_eq!(key(&[1, 5, 1, 7]), key(&[3, 5, 1, 7]), "rows do not matter");
    assert_ne!(key(&[1, 5, 1, 7]), key(&[1, 7, 1, 5]));
    assert_ne!(key(&[1, 5, 1, 7]), key(&[1, 35, 1, 1]));
}

#[test]
fn whatever_passes_fits_the_model() {
    let sizes = [0_u64, 1, 2, 3, 4];
    let mut passed = 0;
    for a in sizes {
        for b in sizes {
            for rows in sizes {
                for other in sizes {
                    let inputs = vec![tensor("a", &[rows, a]), tensor("b", &[other, b, 1, 1])];
                    let Ok(bound) = bind(&spec(), request(inputs)) else { continue };
                    passed += 1;
                    assert!(a == 2 && b > 0 && rows == other && (1..=4).contains(&rows));
                    assert_eq!(bound.whole.inputs[0].len(), usize::try_from(rows * 2).unwrap());
                }
            }
        }
    }
    assert_eq!(passed, 4 * 4, "four row counts and four sizes of the free dimension");
}

#[test]
fn a_model_without_a_batch_dimension_takes_one_whole_shape() {
    let whole = ModelSpec { batched: false, max_rows: 1, inputs: vec![spec().inputs[0].clone()], ..spec() };
    let bound = bind(&whole, request(vec![tensor("a", &[4, 2])])).unwrap();
    assert_eq!((bound.whole.rows, bound.shape), (1, ShapeKey(Box::new([4]))));
    assert!(bind(&whole, request(vec![tensor("a", &[0, 2])])).is_err());
}

#[test]
fn a_timeout_of_zero_is_none() {
    let mut request = request(vec![tensor("a", &[1, 2]), tensor("b", &[1, 1, 1, 1])]);
    for (value, expected) in [(0, None), (1500, Some(Duration::from_micros(1500)))] {
        request.parameters.insert("timeout".to_owned(), Parameter::Int(value));
        assert_eq!(bind(&spec(), request.clone()).unwrap().wishes.timeout, expected);
    }
}

/// A model that pads `ids` and `scores`, with a mask over both.
fn padded() -> ModelSpec {
    let toml = r#"
backend = "synthetic"
max_batch_size = 2
[[input]]
name = "ids"
datatype = "UINT8"
shape = [-1, -1]
pad_value = 0
[[input]]
name = "scores"
datatype = "UINT8"
shape = [-1, 3, -1]
pad_value = 7
[[input]]
name = "mask"
datatype = "INT64"
shape = [-1, -1]
mask = true
[[output]]
name = "y"
datatype = "UINT8"
shape = [-1]
[batching]
buckets = [4, 8]
[synthetic]
"#;
    let config = weir_config::ModelConfig::parse(toml, std::path::Path::new("model.toml")).unwrap();
    ModelSpec::new("m".parse().unwrap(), Version::new(1).unwrap(), &config)
}

fn mask(shape: &[u64]) -> Tensor {
    let len = shape.iter().product::<u64>() * 8;
    let data = vec![1; usize::try_from(len).unwrap()];
    Tensor { name: "mask".to_owned(), datatype: Datatype::Int64, shape: shape.to_vec(), data: data.into() }
}

#[test]
fn a_request_belongs_to_the_bucket_of_its_length_and_is_not_padded_yet() {
    let of = |rows: u64, length: u64| {
        bind(&padded(), request(vec![tensor("ids", &[rows, length]), tensor("scores", &[rows, 3, length])]))
    };
    let bound = of(2, 3).unwrap();
    assert_eq!(bound.whole.length, Some(Length { own: 3, bucket: 4 }));
    assert_eq!(bound.whole.shapes, [vec![2, 3], vec![2, 3, 3], vec![2, 3]]);
    assert_eq!((bound.whole.inputs[0].len(), bound.whole.inputs[1].len()), (6, 18));
    assert_eq!(bound.shape, of(1, 4).unwrap().shape, "one bucket");
    assert_ne!(bound.shape, of(2, 5).unwrap().shape, "another bucket");
    let too_long = of(1, 9).unwrap_err().message;
    assert!(too_long.contains("has length 9: expected at most 8, the model's largest bucket"), "{too_long}");
}

#[test]
fn a_mask_may_be_left_out_and_everything_else_may_not() {
    let both = || vec![tensor("ids", &[1, 3]), tensor("scores", &[1, 3, 3])];
    let made = bind(&padded(), request(both())).unwrap();
    assert_eq!((made.whole.inputs[2].len(), &made.whole.shapes[2][..]), (0, &[1, 3][..]));
    let mut brought = both();
    brought.push(mask(&[1, 3]));
    let brought = bind(&padded(), request(brought)).unwrap();
    assert_eq!((brought.whole.inputs[2].len(), brought.shape), (24, made.shape));
    let missing = bind(&padded(), request(vec![tensor("ids", &[1, 3]), mask(&[1, 3])])).unwrap_err();
    assert!(missing.message.starts_with("input 'scores' is missing"), "{missing:?}");
}

#[test]
fn lengths_that_one_mask_cannot_mean_are_refused() {
    let with = |scores: u64, mask_length: u64| {
        let inputs = vec![tensor("ids", &[1, 3]), tensor("scores", &[1, 3, scores]), mask(&[1, mask_length])];
        bind(&padded(), request(inputs))
            .map(|bound| bound.whole.length.unwrap().own)
            .map_err(|error| error.message)
    };
    assert_eq!(with(3, 3), Ok(3));
    for (scores, mask_length, words) in [
        (4, 3, "input 'scores' has length 4 and input 'ids' has 3"),
        (3, 4, "has 4: the padded inputs and masks of a request must be equally long"),
    ] {
        let message = with(scores, mask_length).unwrap_err();
        assert!(message.contains(words), "{message}");
    }
    let mut free = padded();
    free.inputs.truncate(2);
    let inputs = vec![tensor("ids", &[1, 3]), tensor("scores", &[1, 3, 6])];
    let bound = bind(&free, request(inputs)).unwrap();
    assert_eq!(bound.whole.length, Some(Length { own: 6, bucket: 8 }), "without a mask the longest decides");
}

#[test]
fn a_request_may_have_more_rows_than_a_batch_and_not_more_than_the_queue() {
    let of = |rows| bind(&spec(), request(vec![tensor("a", &[rows, 2]), tensor("b", &[rows, 1, 1, 1])]));
    assert_eq!(of(4).unwrap().whole.rows, 4);
    let error = of(5).unwrap_err().message;
    assert!(error.contains("5 rows: expected 1 to 4, the model's max_queue_size"), "{error}");
}
