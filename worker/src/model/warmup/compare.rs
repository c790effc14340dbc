//! Whether a row gave the same alone and in company.
//!
//! Part of `warmup`; pure.

use half::{bf16, f16};
use weir_protocol::{Datatype, infer};

use crate::backend::{OutputBatch, element_count};

/// Values nearer to zero than this are compared as if they were this large: what is left of a sum whose terms cancel
/// out is all rounding.
const SMALLEST: f64 = 0.1;

/// Whether an output of one row equals row `row` of the same output for `rows` rows. Floats may differ by `tolerance`
/// relative to the larger of the two, by default what a change of the order of summation can explain: 1e-3 for 32 bits
/// and more, 2e-2 for 16. With a tolerance of 0 the bits must be equal. Integers and texts always must.
pub(super) fn same_row(
    alone: &OutputBatch,
    all: &OutputBatch,
    (row, rows): (u32, u32),
    tolerance: Option<f64>,
) -> bool {
    if alone.datatype == Datatype::Bytes {
        let Some(elements) = element_count(&alone.shape) else { return false };
        let row = infer::strings(&all.data).skip(row as usize * elements).take(elements);
        return infer::strings(&alone.data).eq(row);
    }
    let len = all.data.len() / rows.max(1) as usize;
    let start = row as usize * len;
    let Some(other) = all.data.get(start..start + len) else { return false };
    let size = alone.datatype.size().unwrap_or(1);
    let pairs = || alone.data.chunks_exact(size).zip(other.chunks_exact(size));
    alone.data.len() == len && pairs().all(|(a, b)| a == b || close(alone.datatype, (a, b), tolerance))
}

fn close(datatype: Datatype, (a, b): (&[u8], &[u8]), tolerance: Option<f64>) -> bool {
    let usual = match datatype {
        Datatype::Fp32 | Datatype::Fp64 => 1e-3,
        Datatype::Fp16 | Datatype::Bf16 => 2e-2,
        _ => return false,
    };
    let tolerance = tolerance.unwrap_or(usual);
    if tolerance <= 0.0 {
        return false;
    }
    let (a, b) = (float(datatype, a), float(datatype, b));
    let difference = (a - b).abs();
    // Infinities are equal by their bits only; a row of nothing but NaN at least is no sign of mixing rows.
    (difference.is_finite() && difference <= tolerance * a.abs().max(b.abs()).max(SMALLEST))
        || (a.is_nan() && b.is_nan())
}

fn float(datatype: Datatype, element: &[u8]) -> f64 {
    match (datatype, element) {
        (Datatype::Fp16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
        (Datatype::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
        (Datatype::Fp32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (_, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> OutputBatch {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        OutputBatch { datatype: Datatype::Fp32, shape: vec![1, values.len() as i64], data: data.into() }
    }

    #[test]
    fn the_tolerance_is_relative_and_zero_means_bit_for_bit() {
        let near = |a: f32, b: f32, tolerance| same_row(&floats(&[a]), &floats(&[b]), (0, 1), tolerance);
        for (b, tolerance, same) in [
            (1000.9, None, true),
            (1001.1, None, false),
            (1009.0, Some(0.01), true),
            (1011.0, Some(0.01), false),
            (1000.9, Some(1e-4), false),
            (1000.0, Some(0.0), true),
            (1000.0001, Some(0.0), false),
            (f32::NAN, None, false),
        ] {
            assert_eq!(near(1000.0, b, tolerance), same, "{b} with {tolerance:?}");
        }
        assert!(near(0.0, 9e-5, None) && !near(0.0, 2e-4, None), "near zero as if it were 0.1");
        assert!(near(f32::NAN, -f32::NAN, None) && !near(f32::NAN, -f32::NAN, Some(0.0)));
        assert!(near(f32::INFINITY, f32::INFINITY, None) && !near(f32::INFINITY, 1.0, None));
        assert!(near(0.0, -0.0, None) && !near(0.0, -0.0, Some(0.0)));
    }

    #[test]
    fn the_row_is_the_one_that_was_asked_for() {
        let all = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let same = |alone: &[f32], row| same_row(&floats(alone), &all, (row, 3), None);
        assert!(same(&[1.0, 2.0], 0) && same(&[5.0, 6.0], 2));
        assert!(!same(&[1.0, 2.0], 1) && !same(&[5.0, 6.0], 3), "another row, and one that is not there");
        assert!(!same(&[1.0], 0), "another size");
    }

    #[test]
    fn integers_differ_by_nothing() {
        let number = |value: i32| OutputBatch {
            datatype: Datatype::Int32,
            shape: vec![1, 1],
            data: value.to_le_bytes().to_vec().into(),
        };
        let same = |b| same_row(&number(1_000_000), &number(b), (0, 1), Some(1.0));
        assert!(same(1_000_000) && !same(1_000_001));
    }
}
