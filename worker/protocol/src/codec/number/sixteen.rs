//! Rounds a JSON number to the 16-bit floats, FP16 and BF16.
//!
//! FP32 is the way there, and so that two roundings come out as one, a number that FP32 puts in the middle between two
//! 16-bit floats is compared with that middle digit by digit. Called by the element readers.

use std::cmp::Ordering;

use half::{bf16, f16};

use super::Number;

/// Decimals that every middle between two 16-bit floats fits in: the smallest one is 2^-134, of BF16.
const MIDDLE_DECIMALS: usize = 134;

impl Number<'_> {
    /// The nearest FP16, ties to even; `None` beyond the finite ones.
    pub(in crate::codec) fn fp16(&self) -> Option<f16> {
        self.narrowed(f16::from_f32).filter(|value| value.is_finite())
    }

    /// The nearest BF16, ties to even; `None` beyond the finite ones.
    pub(in crate::codec) fn bf16(&self) -> Option<bf16> {
        self.narrowed(bf16::from_f32).filter(|value| value.is_finite())
    }

    fn narrowed<T: PartialEq>(&self, round: fn(f32) -> T) -> Option<T> {
        let wide = self.fp32()?;
        let (below, above) = (round(wide.next_down()), round(wide.next_up()));
        if below == above {
            return Some(round(wide));
        }
        // Rounding takes a step here, so `wide` is a middle; what rounded to it may lie on either side.
        let side = self.magnitude_against(wide.abs());
        Some(match if wide < 0.0 { side.reverse() } else { side } {
            Ordering::Less => below,
            Ordering::Equal => round(wide),
            Ordering::Greater => above,
        })
    }

    /// Compares the number, its sign left out, with a `middle` that is exact in [`MIDDLE_DECIMALS`] decimals.
    fn magnitude_against(&self, middle: f32) -> Ordering {
        self.in_integers_against(middle).unwrap_or_else(|| self.in_digits_against(middle))
    }

    /// The comparison for numbers of few digits, integers above all: multiplied by powers of two and ten until both
    /// sides are integers.
    fn in_integers_against(&self, middle: f32) -> Option<Ordering> {
        let ten = 10_u64.checked_pow(self.exponent.checked_neg()?.try_into().ok()?)?;
        // A normal FP32 is its fraction, the leading 1 included, divided by 2^shift.
        let shift = 150_u32.checked_sub(middle.to_bits() >> 23)?;
        let fraction = (middle.to_bits() & 0x007f_ffff) | 0x0080_0000;
        let in_range = self.exact && middle >= f32::MIN_POSITIVE && shift <= u64::BITS;
        in_range.then(|| (u128::from(self.mantissa) << shift).cmp(&(u128::from(fraction) * u128::from(ten))))
    }

    #[cold]
    fn in_digits_against(&self, middle: f32) -> Ordering {
        let own = self.text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        let own = Digits::of(own, i64::from(self.exponent));
        let middle = format!("{middle:.MIDDLE_DECIMALS$}");
        own.cmp(&Digits::of(middle.as_bytes(), -(MIDDLE_DECIMALS as i64)))
    }
}

/// A decimal of which the first digit is not 0 and the last is not 0; compares as its value does.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Digits {
    /// Places that the point stands behind the place before the first digit.
    point: i64,
    digits: Vec<u8>,
}

impl Digits {
    /// The digits in `text` times 10^`exponent`; other characters do not count.
    fn of<'t>(text: impl IntoIterator<Item = &'t u8>, exponent: i64) -> Self {
        let digits = text.into_iter().copied().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
        let mut digits: Vec<u8> = digits.collect();
        let point = exponent + digits.len() as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        Self { point, digits }
    }
}
