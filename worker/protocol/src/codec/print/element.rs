//! Writes a tensor's elements as JSON, flat and row-major, with commas between them.
//!
//! Floats are printed as the shortest decimal that reads back to the same value; NaN and the infinities as the bare
//! tokens `NaN`, `Infinity` and `-Infinity`, which is what Triton writes and Python's `json` reads. No element
//! allocates. Called by the tensor writer.

use half::{bf16, f16};

use crate::{Datatype, OipError, Reason, Tensor, error::shown, infer::split_string};

/// Digits that tell every 16-bit float from the others: 5 for FP16, 4 for BF16.
const DIGITS_OF_16_BIT: i32 = 5;
/// Floats printed before their texts are copied; 4 and 32 measured a little slower, 1 by half.
const FLOATS_AT_ONCE: usize = 16;

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
        Datatype::Fp16 => floats(out, data, |raw| shortest(f16::from_le_bytes(raw), f16::from_f32)),
        Datatype::Bf16 => floats(out, data, |raw| shortest(bf16::from_le_bytes(raw), bf16::from_f32)),
        Datatype::Fp32 => floats(out, data, f32::from_le_bytes),
        Datatype::Fp64 => floats(out, data, f64::from_le_bytes),
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

/// A float that can be printed and looked at.
trait Float: zmij::Float + Into<f64> + Copy {}
impl Float for f32 {}
impl Float for f64 {}

/// Prints a few floats before it copies their texts: a text copied right after it was printed has to wait for the
/// bytes to arrive in the cache, a third of the time that all of this takes.
fn floats<const N: usize, T: Float>(out: &mut Vec<u8>, data: &[u8], value: impl Fn([u8; N]) -> T) {
    let (elements, _) = data.as_chunks::<N>();
    for group in elements.chunks(FLOATS_AT_ONCE) {
        let (mut buffers, mut texts) =
            ([(); FLOATS_AT_ONCE].map(|()| zmij::Buffer::new()), [""; FLOATS_AT_ONCE]);
        for ((text, buffer), raw) in texts.iter_mut().zip(&mut buffers).zip(group) {
            *text = float(buffer, value(*raw));
        }
        for text in texts.iter().take(group.len()) {
            out.extend_from_slice(text.as_bytes());
            out.push(b',');
        }
    }
    if !elements.is_empty() {
        out.pop();
    }
}

fn float<T: Float>(buffer: &mut zmij::Buffer, value: T) -> &str {
    match value.into() {
        wide if wide.is_finite() => buffer.format_finite(value),
        wide if wide.is_nan() => "NaN",
        wide if wide > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// The FP32 that prints as the shortest decimal which `round` takes to the 16-bit float `value`.
///
/// FP32 tells apart all decimals of as many digits as are tried here, so printing it adds none.
fn shortest<T: Into<f64> + PartialEq + Copy>(value: T, round: fn(f32) -> T) -> f32 {
    let wide: f64 = value.into();
    if wide == 0.0 || !wide.is_finite() {
        return wide as f32;
    }
    let magnitude = wide.abs().log10().floor() as i32;
    for digit in 0..DIGITS_OF_16_BIT {
        let scale = 10_f64.powi(digit - magnitude);
        let scaled = wide * scale;
        // The nearest decimal does if any does, but for powers of two: below them, floats are closer than above.
        let tries = if is_power_of_two(wide) { 3 } else { 1 };
        let decimals =
            [scaled.round(), scaled.floor(), scaled.ceil()].map(|decimal| (decimal / scale) as f32);
        if let Some(decimal) = decimals.into_iter().take(tries).find(|decimal| round(*decimal) == value) {
            return decimal;
        }
    }
    wide as f32
}

fn is_power_of_two(value: f64) -> bool {
    const MANTISSA: u64 = (1 << (f64::MANTISSA_DIGITS - 1)) - 1;
    value.to_bits() & MANTISSA == 0
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
    use crate::codec::number::Number;

    fn print(datatype: Datatype, data: &[u8]) -> String {
        let count = data.len() / datatype.size().unwrap();
        let (name, data) = ("x".to_owned(), bytes::Bytes::copy_from_slice(data));
        let mut out = Vec::new();
        write(&mut out, &Tensor { name, datatype, shape: vec![count as u64], data }).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Whether a decimal of fewer digits than `text` has reads as the same value too.
    fn could_be_shorter(text: &str, value: f64, same: impl Fn(&str) -> bool) -> bool {
        let mantissa = text.split('e').next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        (1..digits.trim_matches('0').len()).any(|fewer| {
            let nearest = format!("{value:.*e}", fewer - 1);
            let (mantissa, exponent) = nearest.split_once('e').unwrap();
            let mantissa: i64 = mantissa.replace('.', "").parse().unwrap();
            let exponent: i32 = exponent.parse().unwrap();
            let near = |step| format!("{}e{}", mantissa + step, exponent + 1 - fewer as i32);
            [-1, 0, 1].into_iter().any(|step| same(&near(step)))
        })
    }

    #[test]
    fn every_16_bit_float_is_printed_as_the_shortest_text_that_reads_back() {
        fn check<T: Into<f64>>(text: &str, value: T, bits: u16, read: impl Fn(&Number<'_>) -> Option<u16>) {
            let same = |text: &str| read(&Number::scan(text.as_bytes()).unwrap()) == Some(bits);
            assert!(same(text), "{bits:#06x} was printed as {text}");
            assert!(!could_be_shorter(text, value.into(), same), "{bits:#06x} was printed as {text}");
        }
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            if half.is_finite() {
                let text = print(Datatype::Fp16, &half.to_le_bytes());
                check(&text, half, bits, |number| number.fp16().map(f16::to_bits));
            }
            if brain.is_finite() {
                let text = print(Datatype::Bf16, &brain.to_le_bytes());
                check(&text, brain, bits, |number| number.bf16().map(bf16::to_bits));
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_a_bare_token_in_every_float() {
        let values = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        let tokens = "NaN,NaN,Infinity,-Infinity,-0.0";
        let each = |datatype, raw: fn(f64) -> Vec<u8>| print(datatype, &values.map(raw).concat());
        assert_eq!(each(Datatype::Fp64, |value| value.to_le_bytes().to_vec()), tokens);
        assert_eq!(each(Datatype::Fp32, |value| (value as f32).to_le_bytes().to_vec()), tokens);
        assert_eq!(each(Datatype::Fp16, |value| f16::from_f64(value).to_le_bytes().to_vec()), tokens);
        assert_eq!(each(Datatype::Bf16, |value| bf16::from_f64(value).to_le_bytes().to_vec()), tokens);
    }

    #[test]
    fn commas_stand_between_elements_however_many_there_are() {
        for count in 0..2 * FLOATS_AT_ONCE + 2 {
            let floats: Vec<_> = (0..count).flat_map(|index| (index as f32).to_le_bytes()).collect();
            let bytes: Vec<_> = (0..count).map(|index| index as u8).collect();
            let separated =
                |point: &str| (0..count).map(|index| format!("{index}{point}")).collect::<Vec<_>>().join(",");
            assert_eq!(print(Datatype::Fp32, &floats), separated(".0"));
            assert_eq!(print(Datatype::Uint8, &bytes), separated(""));
        }
    }
}
