//! What warm-up makes of good, strange and broken models.

use std::sync::atomic::{AtomicU32, Ordering};

use weir_config::model::Padding;
use weir_protocol::{Version, infer};

use super::*;
use crate::{backend::BackendError, model::Terms};

/// A backend made of a function from the rows of its first input to floats.
struct Model<F>(F, AtomicU32);

fn model<F: Fn(&[f32], i64) -> Result<Vec<f32>, &'static str>>(forward: F) -> Model<F> {
    Model(forward, AtomicU32::new(0))
}

impl<F: Fn(&[f32], i64) -> Result<Vec<f32>, &'static str> + Send + Sync> Backend for Model<F> {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let bytes = inputs[0].parts.concat();
        assert_eq!(inputs[0].byte_len(), Some(bytes.len()), "the sample does not fit its shape");
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let output = (self.0)(&values, inputs[0].shape[0]).map_err(BackendError::new)?;
        let data = output.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let shape = inputs[0].shape.clone();
        Ok(vec![OutputBatch { datatype: Datatype::Fp32, shape, data: data.into() }])
    }
}

fn spec(shape: &[i64], max_rows: u32) -> ModelSpec {
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.to_vec(),
        labels: None,
        padding: Padding::None,
    };
    ModelSpec {
        name: "m".parse().unwrap(),
        version: Version::new(1).unwrap(),
        batched: max_rows > 1,
        max_rows,
        max_request_rows: max_rows,
        buckets: Vec::new(),
        terms: Terms::default(),
        takes_texts: false,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
    }
}

fn doubled(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value * 2.0).collect()
}

#[test]
fn a_model_that_batches_is_good_after_three_passes_of_each_size() {
    let model = model(|values, _| Ok(doubled(values)));
    assert_eq!(run(&spec(&[-1, 3], 8), &model), WarmUp::Good);
    assert_eq!(model.1.load(Ordering::Relaxed), 3 + 3 + 1, "one row, eight rows, the last row alone");
}

#[test]
fn a_model_without_batches_runs_three_times() {
    let model = model(|values, _| Ok(doubled(values)));
    assert_eq!(run(&spec(&[2, 3], 1), &model), WarmUp::Good);
    assert_eq!(model.1.load(Ordering::Relaxed), 3);
}

#[test]
fn rows_that_depend_on_their_company_are_found_at_either_end() {
    // Each row's answer depends on the row before it, so the first row is right and the last one is not.
    let shifted = model(|values, _| {
        let before = [&values[..1], &values[..values.len() - 1]].concat();
        Ok(values.iter().zip(before).map(|(value, before)| value + before).collect())
    });
    let WarmUp::OneRowOnly(why) = run(&spec(&[-1, 1], 4), &shifted) else { panic!("not found") };
    assert_eq!(why, "output 'y' of a row differs when the row runs in a batch of 4");
    let first =
        model(|values, rows| Ok(values.iter().map(|v| if rows > 1 { v + values[1] } else { *v }).collect()));
    assert!(matches!(run(&spec(&[-1, 1], 4), &first), WarmUp::OneRowOnly(_)));
}

#[test]
fn a_difference_that_summation_order_explains_is_no_difference() {
    let model =
        model(|values, rows| Ok(values.iter().map(|v| if rows > 1 { v * 1.0001 } else { *v }).collect()));
    assert_eq!(run(&spec(&[-1, 4], 4), &model), WarmUp::Good);
}

#[test]
fn a_batch_size_that_is_baked_in_caps_or_fails() {
    let one = model(|values, rows| if rows == 1 { Ok(doubled(values)) } else { Err("baked") });
    let why = "a batch of 4 rows fails: baked".to_owned();
    assert_eq!(run(&spec(&[-1, 2], 4), &one), WarmUp::OneRowOnly(why));
    let four = model(|values, rows| if rows == 4 { Ok(doubled(values)) } else { Err("baked") });
    let why = "a batch of 4 rows works and a single row does not: baked".to_owned();
    assert_eq!(run(&spec(&[-1, 2], 4), &four), WarmUp::Bad(why));
}

#[test]
fn free_dimensions_are_tried_in_several_sizes() {
    let at_least_30 =
        model(|values, _| if values.len() >= 30 { Ok(doubled(values)) } else { Err("too small") });
    assert_eq!(run(&spec(&[-1, -1], 2), &at_least_30), WarmUp::Good);
    let never = model(|_, _| Err("too small"));
    assert_eq!(run(&spec(&[-1, -1], 2), &never), WarmUp::Unknown("too small".to_owned()));
    assert_eq!(run(&spec(&[-1, 5], 2), &never), WarmUp::Bad("too small".to_owned()));
}

#[test]
fn a_sample_row_is_the_same_each_time_and_unlike_its_neighbours() {
    for datatype in [Datatype::Fp16, Datatype::Bf16, Datatype::Fp32, Datatype::Fp64] {
        let size = datatype.size().unwrap();
        let row = |number| sample::row(datatype, 16, number);
        assert_eq!((row(3).len(), row(3)), (16 * size, row(3)), "{datatype}");
        assert_ne!(row(3), row(4), "{datatype}");
    }
    assert_eq!(sample::row(Datatype::Int32, 2, 9), [1, 0, 0, 0, 1, 0, 0, 0]);
}

/// A backend that answers each text with what a function makes of it and of the number of texts.
struct Texts(fn(&str, usize) -> Result<String, &'static str>);

impl Backend for Texts {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let bytes = inputs[0].parts.concat();
        let texts: Vec<_> = infer::strings(&bytes).map(|text| std::str::from_utf8(text).unwrap()).collect();
        let mut data = Vec::new();
        for text in &texts {
            let answer = (self.0)(text, texts.len()).map_err(BackendError::new)?;
            infer::push_string(&mut data, answer.as_bytes()).unwrap();
        }
        let shape = inputs[0].shape.clone();
        Ok(vec![OutputBatch { datatype: Datatype::Bytes, shape, data: data.into() }])
    }
}

#[test]
fn texts_are_made_and_compared_by_row_and_unknown_words_are_no_failure() {
    let mut spec = spec(&[-1], 12);
    spec.inputs[0].datatype = Datatype::Bytes;
    spec.outputs[0].datatype = Datatype::Bytes;
    assert_eq!(run(&spec, &Texts(|text, _| Ok(format!("<{text}>")))), WarmUp::Good);
    let company =
        Texts(|text, count| Ok(if count > 1 { format!("{text} of {count}") } else { text.to_owned() }));
    let why = "output 'y' of a row differs when the row runs in a batch of 12".to_owned();
    assert_eq!(run(&spec, &company), WarmUp::OneRowOnly(why));
    let picky = Texts(|text, _| if text == "hello" { Ok(text.to_owned()) } else { Err("unknown word") });
    assert_eq!(run(&spec, &picky), WarmUp::Unknown("unknown word".to_owned()));
}

#[test]
fn an_input_that_cannot_be_made_is_an_answer_not_an_allocation() {
    let model = model(|values, _| Ok(doubled(values)));
    let WarmUp::Bad(why) = run(&spec(&[-1, i64::MAX], 2), &model) else { panic!("made it") };
    assert_eq!(why, "input 'x' is too large to be made");
}
