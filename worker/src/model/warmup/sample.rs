//! Made-up rows to warm a model up with.
//!
//! Part of `warmup`; pure. Every row has its own number, so that rows differ and the same row can be made again.

use std::ops::Range;

use half::{bf16, f16};
use weir_batching::ShapeKey;
use weir_config::model::{Padding, TensorSpec};
use weir_protocol::{Datatype, infer};

use crate::{
    backend::{InputBatch, element_count},
    model::{
        ModelSpec,
        length::{mask_element, padded_dim},
    },
};

/// Most bytes of a sample element of BYTES in raw form: its length and ten digits.
const TEXT_BYTES: usize = 14;

/// What the dimensions are that model.toml leaves free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Padded ones: the bucket, in a model that pads.
    pub(super) bucket: Option<u64>,
    /// All others.
    pub(super) free: u64,
}

/// Rows of every input of a model in one shape, whole: none is shorter than the bucket.
pub(super) struct Samples {
    inputs: Vec<Rows>,
    batched: bool,
    key: ShapeKey,
}

/// One input.
struct Rows {
    datatype: Datatype,
    /// Of all rows together.
    shape: Vec<i64>,
    /// Raw elements of each row.
    rows: Vec<Vec<u8>>,
}

impl Samples {
    /// Makes `count` rows; 1 for a model without a batch dimension.
    pub(super) fn new(spec: &ModelSpec, sizes: Sizes, count: u32) -> Result<Self, String> {
        let shape = |input: &TensorSpec| shape(spec, input, sizes, count);
        let shapes: Vec<_> = spec.inputs.iter().map(shape).collect();
        let inputs: Result<_, _> =
            spec.inputs.iter().zip(&shapes).map(|(input, shape)| Rows::new(input, shape, count)).collect();
        Ok(Self { inputs: inputs?, batched: spec.batched, key: spec.shape_key(&shapes, sizes.bucket) })
    }

    /// The bucket that requests of this shape fall into.
    pub(super) fn key(&self) -> &ShapeKey {
        &self.key
    }

    /// A batch of some of the rows.
    pub(super) fn batch(&self, rows: Range<u32>) -> Vec<InputBatch<'_>> {
        self.inputs.iter().map(|input| input.batch(rows.clone(), self.batched)).collect()
    }
}

impl Rows {
    fn new(spec: &TensorSpec, shape: &[i64], count: u32) -> Result<Self, String> {
        let size = spec.datatype.size().unwrap_or(TEXT_BYTES);
        // The whole batch must be possible before any of it is made.
        let whole = element_count(shape).filter(|elements| elements.checked_mul(size).is_some());
        let whole = whole.ok_or_else(|| format!("input '{}' is too large to be made", spec.name))?;
        let elements = whole / count.max(1) as usize;
        let rows = (0..count).map(|number| row(spec, elements, number)).collect();
        Ok(Self { datatype: spec.datatype, shape: shape.to_vec(), rows })
    }

    fn batch(&self, rows: Range<u32>, batched: bool) -> InputBatch<'_> {
        let mut shape = self.shape.clone();
        if let (true, Some(batch)) = (batched, shape.first_mut()) {
            *batch = i64::from(rows.end.saturating_sub(rows.start));
        }
        let parts = self.rows.get(rows.start as usize..rows.end as usize).unwrap_or_default();
        InputBatch::whole(self.datatype, shape, parts.iter().map(Vec::as_slice).collect())
    }
}

fn shape(spec: &ModelSpec, input: &TensorSpec, sizes: Sizes, count: u32) -> Vec<i64> {
    let padded = padded_dim(input);
    let dim = |(at, &dim): (usize, &i64)| match sizes.bucket {
        _ if spec.is_batch_dim(at) => i64::from(count),
        Some(bucket) if padded == Some(at) => i64::try_from(bucket).unwrap_or(i64::MAX),
        _ if dim < 0 => i64::try_from(sizes.free).unwrap_or(i64::MAX),
        _ => dim,
    };
    input.shape.iter().enumerate().map(dim).collect()
}

/// Raw elements of one row. Floats lie in [0, 1) and differ from row to row. Integers and booleans are 1: a valid
/// index, length and flag almost anywhere; those that are padded, as tokens are, are 1 or 2. A mask is all 1. A text is
/// the row's number.
fn row(spec: &TensorSpec, elements: usize, number: u32) -> Vec<u8> {
    let datatype = spec.datatype;
    if let (Padding::Mask, Some(one)) = (&spec.padding, mask_element(datatype)) {
        return one.as_bytes().repeat(elements);
    }
    let is_token = matches!(spec.padding, Padding::Fill(_)) && datatype != Datatype::Bool;
    let mut data = Vec::with_capacity(elements * datatype.size().unwrap_or(TEXT_BYTES));
    for element in 0..elements {
        let fraction = fraction(u64::from(number) << 40 | element as u64);
        let integer = if is_token && fraction >= 0.5 { 2_u64 } else { 1 };
        match datatype {
            Datatype::Fp16 => data.extend(f16::from_f64(fraction).to_le_bytes()),
            Datatype::Bf16 => data.extend(bf16::from_f64(fraction).to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "any nearby value will do")]
            Datatype::Fp32 => data.extend((fraction as f32).to_le_bytes()),
            Datatype::Fp64 => data.extend(fraction.to_le_bytes()),
            // Fails for texts of 4 GiB only.
            Datatype::Bytes => _ = infer::push_string(&mut data, number.to_string().as_bytes()),
            // The low bytes of an integer come first.
            _ => data.extend(integer.to_le_bytes().iter().take(datatype.size().unwrap_or_default())),
        }
    }
    data
}

/// A number in [0, 1) that depends on nothing but the seed (SplitMix64).
fn fraction(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The upper 32 bits, so that the quotient is exact.
    f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, padding: Padding) -> TensorSpec {
        TensorSpec { name: "x".to_owned(), datatype, shape: vec![-1, -1], labels: None, padding }
    }

    #[test]
    fn a_row_is_the_same_each_time_and_unlike_its_neighbours() {
        for datatype in [Datatype::Fp16, Datatype::Bf16, Datatype::Fp32, Datatype::Fp64] {
            let size = datatype.size().unwrap();
            let spec = tensor(datatype, Padding::None);
            let row = |number| row(&spec, 16, number);
            assert_eq!((row(3).len(), row(3)), (16 * size, row(3)), "{datatype}");
            assert_ne!(row(3), row(4), "{datatype}");
        }
        let number = tensor(Datatype::Int32, Padding::None);
        assert_eq!(row(&number, 2, 9), [1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn tokens_differ_from_row_to_row_and_masks_are_1() {
        let tokens = tensor(Datatype::Int16, Padding::Fill(Box::new([0, 0])));
        let token = |number| {
            row(&tokens, 16, number)
                .chunks(2)
                .map(|raw| u16::from_le_bytes([raw[0], raw[1]]))
                .collect::<Vec<_>>()
        };
        assert!(
            token(0).contains(&1) && token(0).contains(&2) && token(0).iter().all(|id| matches!(id, 1 | 2))
        );
        assert_ne!(token(0), token(1));
        let mask = tensor(Datatype::Fp32, Padding::Mask);
        assert_eq!(row(&mask, 2, 7), [1_f32.to_le_bytes(), 1_f32.to_le_bytes()].concat());
    }
}
