//! A JSON number: its digits gathered once, eight at a time, its value rounded once.
//!
//! Owns the grammar of numbers and exact rounding to every numeric datatype; what cannot be settled with 64 bits of
//! digits and one operation in FP64 is left to the standard library. Knows nothing of tensors, limits or what stands
//! around the number. Called by the cursor. Why it is written here: docs/adr/0003-json.md.

mod plain;
mod sixteen;

use std::str::FromStr;

use self::plain::Plain;

/// Digits that a `u64` holds whatever they are.
const DIGITS: usize = 19;
/// Largest power of ten that FP64 holds exactly.
const MOST_EXPONENT: i32 = 22;
/// 10^-22 to 10^22.
const POWERS: [f64; 2 * MOST_EXPONENT as usize + 1] = [
    1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8,
    1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// The integers up to here are FP64 numbers.
const FP64_INTEGERS: i64 = 1 << f64::MANTISSA_DIGITS;
/// Mantissa bits that FP64 has and FP32 has not.
const EXTRA_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;

/// A number as it stands in the text: `mantissa * 10^exponent`, negated when `negative`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    /// The number's own text, ASCII.
    text: &'a [u8],
    negative: bool,
    /// All digits, the point left out; meaningless unless `exact`.
    mantissa: u64,
    exponent: i32,
    /// Whether the mantissa holds every digit.
    exact: bool,
    /// Whether there is neither a point nor an exponent.
    whole: bool,
}

/// Where a number's grammar broke, from its first byte, and what had to stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    /// Offset in bytes.
    pub(super) at: usize,
    /// What had to stand there.
    pub(super) expected: &'static str,
}

impl<'a> Number<'a> {
    /// Reads the number that `text` begins with.
    #[inline(always)]
    pub(super) fn scan(text: &'a [u8]) -> Result<Self, Broken> {
        match Self::plain(text) {
            Some(number) if !matches!(text.get(number.len()), Some(b'e' | b'E')) => Ok(number),
            _ => Self::any(text),
        }
    }

    /// As [`Self::scan`], but `None` for numbers that are long or stand at the end of the text, and does not look at
    /// what follows: it may be an exponent.
    #[inline(always)]
    pub(super) fn plain(text: &'a [u8]) -> Option<Self> {
        let Plain { length, negative, mantissa, decimals } = plain::read(text)?;
        let (text, exponent) = (text.get(..length)?, -(decimals as i32));
        Some(Self { text, negative, mantissa, exponent, exact: true, whole: decimals == 0 })
    }

    #[cold]
    fn any(text: &'a [u8]) -> Result<Self, Broken> {
        let negative = text.first() == Some(&b'-');
        let mut digits = Digits { text, at: usize::from(negative), mantissa: 0 };
        // A second digit does not belong to a number that begins with 0.
        let most = if digits.next() == Some(b'0') { 1 } else { usize::MAX };
        let mut count = digits.run(most, "a number")?;
        let (mut exponent, end_of_whole) = (0, digits.at);
        if digits.next() == Some(b'.') {
            digits.at += 1;
            let fraction = digits.run(usize::MAX, "a digit")?;
            exponent = -i32::try_from(fraction).unwrap_or(i32::MAX);
            count += fraction;
        }
        if matches!(digits.next(), Some(b'e' | b'E')) {
            exponent = digits.exponent()?.saturating_add(exponent);
        }
        let Digits { at, mantissa, .. } = digits;
        let text = text.get(..at).unwrap_or_default();
        let exact = count <= DIGITS || significant(text) <= DIGITS;
        Ok(Self { text, negative, mantissa, exponent, exact, whole: at == end_of_whole })
    }

    /// Bytes that its text takes.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The number's own text.
    pub(super) fn text(&self) -> &'a str {
        std::str::from_utf8(self.text).unwrap_or_default()
    }

    /// The integer, unless the number is written with a point or an exponent or `T` does not hold it.
    #[inline(always)]
    pub(super) fn integer<T: TryFrom<i128> + FromStr>(&self) -> Option<T> {
        if !self.whole {
            return None;
        }
        if !self.exact {
            return self.text().parse().ok();
        }
        let magnitude = i128::from(self.mantissa);
        T::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    /// The nearest FP32, ties to even; `None` beyond the finite ones.
    #[inline(always)]
    pub(super) fn fp32(&self) -> Option<f32> {
        let near = self.near().filter(|near| settles_fp32(*near));
        let Some(near) = near else { return self.parsed().filter(|value: &f32| value.is_finite()) };
        Some(f32::from_bits((near as f32).to_bits() | u32::from(self.negative) << 31))
    }

    /// The nearest FP64, ties to even; `None` beyond the finite ones.
    #[inline(always)]
    pub(super) fn fp64(&self) -> Option<f64> {
        let Some(value) = self.exact_fp64() else {
            return self.parsed().filter(|value: &f64| value.is_finite());
        };
        Some(if self.negative { -value } else { value })
    }

    /// The magnitude to within 4 FP64 units: mantissa, power and product are rounded, by half a unit each, and one
    /// unit of a factor becomes up to two of the product.
    #[inline(always)]
    fn near(&self) -> Option<f64> {
        let power = POWERS.get(self.exponent.wrapping_add(MOST_EXPONENT) as usize)?;
        Some(self.exact_mantissa()? as f64 * power)
    }

    /// The magnitude where one rounding makes it of FP64 numbers: mantissa and power are such.
    #[inline(always)]
    fn exact_fp64(&self) -> Option<f64> {
        let power = POWERS.get(self.exponent.unsigned_abs() as usize + MOST_EXPONENT as usize)?;
        let mantissa = self.exact_mantissa().filter(|mantissa| *mantissa <= FP64_INTEGERS)? as f64;
        Some(if self.exponent < 0 { mantissa / power } else { mantissa * power })
    }

    /// The mantissa, if it is one and below 2^63: the half that processors convert at once.
    #[inline(always)]
    fn exact_mantissa(&self) -> Option<i64> {
        i64::try_from(self.mantissa).ok().filter(|_| self.exact)
    }

    #[cold]
    fn parsed<T: FromStr>(&self) -> Option<T> {
        self.text().parse().ok()
    }
}

/// Whether every number within 4 FP64 units of `near`, which is not negative, rounds to the same FP32 as `near` does:
/// none of them reaches the middle between two FP32, and `near` is where middles are a whole number of units apart.
#[inline(always)]
fn settles_fp32(near: f64) -> bool {
    const UNITS: u64 = 4;
    const MIDDLE: u64 = 1 << (EXTRA_BITS - 1);
    let bits = near.to_bits();
    let past_middle = (bits & (2 * MIDDLE - 1)).wrapping_sub(MIDDLE - UNITS);
    let normal = (f64::from(f32::MIN_POSITIVE).to_bits()..f64::from(f32::MAX).to_bits()).contains(&bits);
    (past_middle > 2 * UNITS) & normal | (bits == 0)
}

/// Number of digits before the exponent, leading zeros left out.
#[cold]
fn significant(text: &[u8]) -> usize {
    let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    mantissa.filter(|byte| byte.is_ascii_digit()).skip_while(|byte| **byte == b'0').count()
}

/// Digits on their way into a mantissa, which wraps around when they are too many.
struct Digits<'a> {
    text: &'a [u8],
    at: usize,
    mantissa: u64,
}

impl Digits<'_> {
    fn next(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Takes up to `most` digits and tells how many there were: one at least.
    fn run(&mut self, most: usize, expected: &'static str) -> Result<usize, Broken> {
        let from = self.at;
        while let Some(digit) = self.next().filter(u8::is_ascii_digit)
            && self.at - from < most
        {
            self.mantissa = self.mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == from { Err(Broken { at: from, expected }) } else { Ok(self.at - from) }
    }

    /// Takes the exponent at hand, which saturates.
    fn exponent(&mut self) -> Result<i32, Broken> {
        self.at += 1;
        let negative = self.next() == Some(b'-');
        self.at += usize::from(negative || self.next() == Some(b'+'));
        let (from, mut value) = (self.at, 0_i32);
        while let Some(digit) = self.next().filter(u8::is_ascii_digit) {
            value = value.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == from {
            return Err(Broken { at: from, expected: "a digit" });
        }
        Ok(if negative { -value } else { value })
    }
}
