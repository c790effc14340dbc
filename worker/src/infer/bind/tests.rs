//! A property over every request: what passes is in the model's order and fits it. The messages are tested end to end
//! in `tests::bad_input`.

use weir_config::model::Padding;
use weir_protocol::{
    Datatype, Version,
    infer::{Parameter, Parameters},
};

use super::*;

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
    assert_eq!((bound.rows, &bound.shape), (2, &ShapeKey(Box::new([5, 7]))));
    assert_eq!(bound.shapes, [vec![2, 2], vec![2, 5, 1, 7]]);
    assert_eq!((&bound.inputs[0][..], bound.inputs[1].len()), (&[0_u8; 4][..], 70));
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
                    assert!(a == 2 && b > 0 && rows == other && (1..=3).contains(&rows));
                    assert_eq!(bound.inputs[0].len(), usize::try_from(rows * 2).unwrap());
                }
            }
        }
    }
    assert_eq!(passed, 3 * 4, "three row counts and four sizes of the free dimension");
}

#[test]
fn a_model_without_a_batch_dimension_takes_one_whole_shape() {
    let whole = ModelSpec { batched: false, max_rows: 1, inputs: vec![spec().inputs[0].clone()], ..spec() };
    let bound = bind(&whole, request(vec![tensor("a", &[4, 2])])).unwrap();
    assert_eq!((bound.rows, bound.shape), (1, ShapeKey(Box::new([4]))));
    assert!(bind(&whole, request(vec![tensor("a", &[0, 2])])).is_err());
}

#[test]
fn a_timeout_of_zero_is_none() {
    let mut request = request(vec![tensor("a", &[1, 2]), tensor("b", &[1, 1, 1, 1])]);
    for (value, expected) in [(0, None), (1500, Some(Duration::from_micros(1500)))] {
        request.parameters.insert("timeout".to_owned(), Parameter::Int(value));
        assert_eq!(bind(&spec(), request.clone()).unwrap().timeout, expected);
    }
}
