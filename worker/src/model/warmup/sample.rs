//! Made-up rows to warm a model up with, and the comparison of what it made of them.
//!
//! Part of `warmup`; pure. Every row has its own number, so that rows differ and the same row can be made again.

use half::{bf16, f16};
use weir_protocol::{Datatype, infer};

use crate::backend::{OutputBatch, element_count};

/// Most bytes of a sample element of BYTES in raw form: its length and ten digits.
pub(super) const TEXT_BYTES: usize = 14;

/// Raw elements of one row. Floats lie in [0, 1) and differ from row to row; integers and booleans are 1: a valid
/// index, length, mask and flag almost anywhere; a text is the row's number.
pub(super) fn row(datatype: Datatype, elements: usize, row: u32) -> Vec<u8> {
    let mut data = Vec::with_capacity(elements * datatype.size().unwrap_or(TEXT_BYTES));
    for element in 0..elements {
        let fraction = fraction(u64::from(row) << 40 | element as u64);
        match datatype {
            Datatype::Fp16 => data.extend(f16::from_f64(fraction).to_le_bytes()),
            Datatype::Bf16 => data.extend(bf16::from_f64(fraction).to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "any nearby value will do")]
            Datatype::Fp32 => data.extend((fraction as f32).to_le_bytes()),
            Datatype::Fp64 => data.extend(fraction.to_le_bytes()),
            Datatype::Bool | Datatype::Uint8 | Datatype::Int8 => data.push(1),
            Datatype::Uint16 | Datatype::Int16 => data.extend(1_u16.to_le_bytes()),
            Datatype::Uint32 | Datatype::Int32 => data.extend(1_u32.to_le_bytes()),
            Datatype::Uint64 | Datatype::Int64 => data.extend(1_u64.to_le_bytes()),
            // Fails for texts of 4 GiB only.
            Datatype::Bytes => _ = infer::push_string(&mut data, row.to_string().as_bytes()),
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

/// Whether an output of one row equals row `row` of the same output for `rows` rows, up to what a change of the
/// order of summation can explain: 1e-3 relative for 32 bits and more, 2e-2 for 16. Integers and texts must be equal.
pub(super) fn same_row(alone: &OutputBatch, all: &OutputBatch, row: u32, rows: u32) -> bool {
    if alone.datatype == Datatype::Bytes {
        let Some(elements) = element_count(&alone.shape) else { return false };
        let row = infer::strings(&all.data).skip(row as usize * elements).take(elements);
        return infer::strings(&alone.data).eq(row);
    }
    let len = all.data.len() / rows.max(1) as usize;
    let start = row as usize * len;
    let Some(other) = all.data.get(start..start + len) else { return false };
    let size = alone.datatype.size().unwrap_or(1);
    alone.data.len() == len
        && alone
            .data
            .chunks_exact(size)
            .zip(other.chunks_exact(size))
            .all(|(a, b)| same(alone.datatype, a, b))
}

fn same(datatype: Datatype, a: &[u8], b: &[u8]) -> bool {
    let tolerance = match datatype {
        Datatype::Fp32 | Datatype::Fp64 => 1e-3,
        Datatype::Fp16 | Datatype::Bf16 => 2e-2,
        _ => return a == b,
    };
    let (a, b) = (float(datatype, a), float(datatype, b));
    let close = (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(0.1);
    // Infinities are equal to themselves, and a row of nothing but NaN at least is no sign of mixing rows.
    close || a == b || (a.is_nan() && b.is_nan())
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
