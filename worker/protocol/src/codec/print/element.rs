//! Writes a tensor's elements as JSON, flat and row-major, with commas between them.
//!
//! Floats are printed as the shortest decimal that reads back to the same value; NaN and the infinities as the bare
//! tokens `NaN`, `Infinity` and `-Infinity`, which is what Triton writes and Python's `json` reads. No element
//! allocates. Called by the tensor writer.

use half::{bf16, f16};

use crate::{Datatype, OipError, Reason, Tensor, error::shown, infer::split_string};

/// Digits that tell every 16-bit float from the others: 5 for FP16, 4 for BF16.
const DIGITS_OF_16_BIT: i32 = 5;

/// Appends the elements of a tensor that has passed its check.
pub(super) fn write(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), OipError> {
    let data = &tensor.data;
    out.reserve(room(tensor));
    match tensor.datatype {
        Datatype::Bool => list(out, data, |out, [b]| {
            out.extend_from_slice(if b == 0 { b"false" } else { b"true" });
        }),
        Datatype::Uint8 => list(out, data, |out, raw| integer(out, u8::from_le_bytes(raw))),
        Datatype::Uint16 => list(out, data, |out, raw| integer(out, u16::from_le_bytes(raw))),
        Datatype::Uint32 => list(out, data, |out, raw| integer(out, u32::from_le_bytes(raw))),
        Datatype::Uint64 => list(out, data, |out, raw| integer(out, u64::from_le_bytes(raw))),
        Datatype::Int8 => list(out, data, |out, raw| integer(out, i8::from_le_bytes(raw))),
        Datatype::Int16 => list(out, data, |out, raw| integer(out, i16::from_le_bytes(raw))),
        Datatype::Int32 => list(out, data, |out, raw| integer(out, i32::from_le_bytes(raw))),
        Datatype::Int64 => list(out, data, |out, raw| integer(out, i64::from_le_bytes(raw))),
        Datatype::Fp16 => list(out, data, |out, raw| fp16(out, f16::from_le_bytes(raw))),
        Datatype::Bf16 => list(out, data, |out, raw| bf16(out, bf16::from_le_bytes(raw))),
        Datatype::Fp32 => list(out, data, |out, raw| fp32(out, f32::from_le_bytes(raw))),
        Datatype::Fp64 => list(out, data, |out, raw| fp64(out, f64::from_le_bytes(raw))),
        Datatype::Bytes => return strings(out, tensor),
    }
    Ok(())
}

/// Bytes of JSON that the elements usually take.
fn room(tensor: &Tensor) -> usize {
    // Of an integer its widest form, of a float the one of a number near 1; each with its comma.
    let each = match tensor.datatype {
        Datatype::Uint8 => 4,
        Datatype::Int8 => 5,
        Datatype::Bool | Datatype::Uint16 => 6,
        Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => 7,
        Datatype::Uint32 => 11,
        Datatype::Int32 => 12,
        Datatype::Fp32 => 13,
        Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => 21,
        Datatype::Bytes => return tensor.data.len(),
    };
    tensor.datatype.size().map_or(0, |size| tensor.data.len() / size * each)
}

fn list<const N: usize>(out: &mut Vec<u8>, data: &[u8], mut write: impl FnMut(&mut Vec<u8>, [u8; N])) {
    let (elements, _) = data.as_chunks::<N>();
    for (index, raw) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, *raw);
    }
}

fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn fp16(out: &mut Vec<u8>, value: f16) {
    fp32(out, shortest(value.to_f64(), |other| f16::from_f64(other) == value));
}

fn bf16(out: &mut Vec<u8>, value: bf16) {
    fp32(out, shortest(value.to_f64(), |other| bf16::from_f64(other) == value));
}

fn fp32(out: &mut Vec<u8>, value: f32) {
    float(out, value, f64::from(value));
}

fn fp64(out: &mut Vec<u8>, value: f64) {
    float(out, value, value);
}

/// `wide` is the same value, to tell the non-finite ones apart.
fn float(out: &mut Vec<u8>, value: impl zmij::Float, wide: f64) {
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

/// The FP32 that prints as the shortest decimal which is the `same` 16-bit float as `value`.
///
/// FP32 tells apart all decimals of as many digits as are tried here, so printing it adds none.
fn shortest(value: f64, same: impl Fn(f64) -> bool) -> f32 {
    if value == 0.0 || !value.is_finite() {
        return value as f32;
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (0..DIGITS_OF_16_BIT).flat_map(|digit| {
        let scale = 10_f64.powi(digit - magnitude);
        let scaled = value * scale;
        // The nearest first. At a power of two it may miss where the one on the other side does not.
        [scaled.round(), scaled.floor(), scaled.ceil()].map(|decimal| decimal / scale)
    });
    let mut same = decimals.filter(|decimal| same(*decimal));
    same.next().unwrap_or(value) as f32
}

fn strings(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), OipError> {
    let (mut rest, mut index): (&[u8], usize) = (&tensor.data, 0);
    while let Some((element, after)) = split_string(rest) {
        let text = std::str::from_utf8(element).map_err(|_| no_text(tensor, index))?;
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, text)
            .map_err(|error| OipError::new(Reason::Internal, format!("cannot write JSON: {error}")))?;
        (rest, index) = (after, index + 1);
    }
    Ok(())
}

fn no_text(tensor: &Tensor, index: usize) -> OipError {
    let name = shown(&tensor.name);
    let message =
        format!("'{name}': element {index} of BYTES is not UTF-8: use the binary form (binary_data)");
    OipError::new(Reason::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Whether a decimal of fewer digits than `text` has reads as the same value too.
    fn could_be_shorter(text: &str, value: f64, same: impl Fn(f64) -> bool) -> bool {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let count = digits.trim_matches('0').len().max(1);
        (1..count).any(|fewer| {
            let nearest = format!("{value:.*e}", fewer - 1);
            let (mantissa, exponent) = nearest.split_once('e').unwrap();
            let mantissa: i64 = mantissa.replace('.', "").parse().unwrap();
            let exponent: i32 = exponent.parse().unwrap();
            let near =
                |step| format!("{}e{}", mantissa + step, exponent - (fewer as i32 - 1)).parse().unwrap();
            [-1, 0, 1].into_iter().any(|step| same(near(step)))
        })
    }

    #[test]
    fn every_16_bit_float_is_printed_as_the_shortest_text_that_reads_back() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            let is_half = |other| f16::from_f64(other).to_bits() == bits;
            let is_brain = |other| bf16::from_f64(other).to_bits() == bits;
            if half.is_finite() {
                let text = text(|out| fp16(out, half));
                assert!(is_half(text.parse().unwrap()), "{half:?} was printed as {text}");
                assert!(!could_be_shorter(&text, half.to_f64(), is_half), "{half:?} was printed as {text}");
            }
            if brain.is_finite() {
                let text = text(|out| bf16(out, brain));
                assert!(is_brain(text.parse().unwrap()), "{brain:?} was printed as {text}");
                assert!(
                    !could_be_shorter(&text, brain.to_f64(), is_brain),
                    "{brain:?} was printed as {text}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_a_bare_token_in_every_float() {
        for (value, token) in [
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| fp64(out, value)), token);
            assert_eq!(text(|out| fp32(out, value as f32)), token);
            assert_eq!(text(|out| fp16(out, f16::from_f64(value))), token);
            assert_eq!(text(|out| bf16(out, bf16::from_f64(value))), token);
        }
    }
}
