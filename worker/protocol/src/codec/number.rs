//! A JSON number: its digits gathered once, eight at a time, its value rounded once.
//!
//! Owns the grammar of numbers and exact rounding to every numeric datatype; what 19 digits and one multiplication do
//! not settle is left to the standard library. Knows nothing of tensors, limits or what stands around the number.
//! Called by the cursor. Why it is written here: docs/adr/0003-json.md.

mod plain;
mod sixteen;

use std::str::FromStr;

use self::plain::Plain;

/// Digits that a `u64` holds whatever they are.
const DIGITS: usize = 19;
/// 10^0 to 10^-27, the last one whose power of five a `u64` holds.
const POWERS: [Power; 28] = {
    let mut powers = [Power::of(0); 28];
    let mut rest = powers.as_mut_slice();
    while let Some((last, before)) = rest.split_last_mut() {
        *last = Power::of(before.len() as u32);
        rest = before;
    }
    powers
};

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
    pub(super) fn integer<T: TryFrom<u64> + TryFrom<i64> + FromStr>(&self) -> Option<T> {
        if !self.whole {
            return None;
        }
        if !self.exact {
            return parsed(self.text);
        }
        if self.negative {
            T::try_from(0_i64.checked_sub_unsigned(self.mantissa)?).ok()
        } else {
            T::try_from(self.mantissa).ok()
        }
    }

    /// The nearest FP32, ties to even; `None` beyond the finite ones.
    #[inline(always)]
    pub(super) fn fp32(&self) -> Option<f32> {
        match self.rounded(|integer| integer as f32) {
            Some(value) => Some(value as f32),
            None => parsed(self.text).filter(|value: &f32| value.is_finite()),
        }
    }

    /// The nearest FP64, ties to even; `None` beyond the finite ones.
    #[inline(always)]
    pub(super) fn fp64(&self) -> Option<f64> {
        match self.rounded(|integer| integer as f64) {
            Some(value) => Some(value),
            None => parsed(self.text).filter(|value: &f64| value.is_finite()),
        }
    }

    /// The value as `round` rounds integers, unless it is too close to where `round` takes a step.
    ///
    /// The value's leading bits, 61 at least, come of a multiplication with a power of ten that is rounded down, which
    /// makes them too small by less than 2. Where both ends of that round to the same, so does everything between
    /// them. The scale is a power of two and far from the ends of FP32, so it costs no bit.
    #[inline(always)]
    fn rounded<T: Into<f64>>(&self, round: fn(i64) -> T) -> Option<f64> {
        let decimals = self.exponent.unsigned_abs() as usize;
        let &Power { reciprocal, exponent } =
            POWERS.get(decimals).filter(|_| self.exact & (self.exponent <= 0))?;
        let shift = (self.mantissa | 1).leading_zeros();
        let product = u128::from(self.mantissa << shift) * u128::from(reciprocal);
        let leading = (product >> 65) as i64;
        let (least, most): (f64, f64) = (round(leading).into(), round(leading + 2).into());
        let scale = f64::from_bits(((exponent - shift as i32 + 1023) as u64) << (f64::MANTISSA_DIGITS - 1));
        let value = f64::from_bits((least * scale).to_bits() | u64::from(self.negative) << 63);
        ((least == most) | (self.mantissa == 0)).then_some(value)
    }
}

/// A power of ten, `reciprocal` * 2^(`exponent` - 65): the exponent is that of a product's upper 63 bits.
#[derive(Clone, Copy)]
struct Power {
    reciprocal: u64,
    exponent: i32,
}

impl Power {
    /// 10^-`decimals`, rounded down.
    const fn of(decimals: u32) -> Self {
        // 10^n = 5^n * 2^n, and 5^n fits in 64 bits.
        let five = 5_u64.pow(decimals);
        let shift = five.leading_zeros();
        let reciprocal = (u128::MAX >> 1) / (five << shift) as u128;
        Self { reciprocal: reciprocal as u64, exponent: shift as i32 - 62 - decimals as i32 }
    }
}

#[cold]
fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
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

#[cfg(test)]
mod tests;
