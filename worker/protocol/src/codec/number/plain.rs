//! The usual number: short, without an exponent, and not at the very end of the text.
//!
//! Reads it without a branch that depends on its digits. The end is found first, by one comparison per eight bytes,
//! and the value does not lie on the way to the next number, so a processor works on several numbers of an array at
//! a time. Whatever is not usual is left to the scan beside it, faults included.

use super::DIGITS;
use crate::codec::words::{WORD, above, below, equal, every, first};

/// Bytes that must be left of the text: a sign, three words, and what follows.
const WINDOW: usize = 4 * WORD;
/// 10^0 to 10^12: what a word's digits are worth before the rest of 20.
const POWERS: [u64; 13] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
];

/// A number's parts: `mantissa` / 10^`decimals`, exactly, negated when `negative`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain {
    /// Bytes of text.
    pub(super) length: usize,
    pub(super) negative: bool,
    pub(super) mantissa: u64,
    pub(super) decimals: usize,
}

/// Reads the number that `text` begins with, up to an exponent; `None` where the careful scan has to.
#[inline(always)]
pub(super) fn read(text: &[u8]) -> Option<Plain> {
    let window = text.first_chunk::<WINDOW>()?;
    let negative = window[0] == b'-';
    let unsigned = if negative { &window[1..] } else { &window[..WINDOW - 1] };
    let words = words_of(unsigned)?;
    let length = length(words)?;
    let digits = words.map(digits_of);
    let point = first(equal(words[0], b'.'));
    let has_point = point < length.min(WORD);
    // A digit after a 0 that comes first.
    let leading_zero = (digits[0] as u16).swap_bytes() <= 9;
    // All of these in one branch: whether a number begins with 0 is anyone's guess.
    if (length == 0) | (point == 0) | (has_point & (point + 1 == length)) | leading_zero {
        return None;
    }
    let count = length - usize::from(has_point);
    let decimals = if has_point { count - point } else { 0 };
    let digits =
        if has_point { without(point, digits, words_of(unsigned.get(1..)?)?.map(digits_of)) } else { digits };
    let mantissa = value(digits, count)?;
    Some(Plain { length: length + usize::from(negative), negative, mantissa, decimals })
}

/// Bytes up to the first one that is no digit, point or sign.
#[inline(always)]
fn length(words: [u64; 3]) -> Option<usize> {
    let end = |word: u64| below(word, b'-') | above(word, b'9');
    match words.map(end) {
        [end, ..] if end != 0 => Some(first(end)),
        [_, end, _] if end != 0 => Some(first(end) + WORD),
        [.., end] if end != 0 => Some(first(end) + 2 * WORD),
        _ => None,
    }
}

/// Takes the byte at `point` out of the words; `next` are the same words one byte on.
#[inline(always)]
fn without(point: usize, words: [u64; 3], next: [u64; 3]) -> [u64; 3] {
    let ([a, ..], [a_next, b, c]) = (words, next);
    let behind = u64::MAX << (point * 8);
    [(a & !behind) | (a_next & behind), b, c]
}

/// The value of the first `count` digits, 1 to 24; `None` if there is anything but digits among them, or too many.
///
/// The last word's digits go to its end: the zeros before them are worth nothing.
#[inline(always)]
fn value([a, b, c]: [u64; 3], count: usize) -> Option<u64> {
    if count <= WORD {
        let last = a << ((WORD - count) * 8);
        return all_digits(last).then(|| eight(last));
    }
    let (power, digits) = (*POWERS.get(count - WORD)?, all_digits(a));
    if count <= 2 * WORD {
        let last = b << ((2 * WORD - count) * 8);
        return (digits & all_digits(last)).then(|| eight(a) * power + eight(last));
    }
    if count > DIGITS + usize::from(a as u8 == 0) {
        return None;
    }
    let power_of_b = *POWERS.get(count - 2 * WORD)?;
    let last = c << ((3 * WORD - count) * 8);
    let digits = digits & all_digits(b) & all_digits(last);
    digits.then(|| eight(a) * power + eight(b) * power_of_b + eight(last))
}

/// Whether no byte is above 9.
#[inline(always)]
fn all_digits(values: u64) -> bool {
    above(values, 9) == 0
}

/// The decimal that eight digits stand for.
#[inline(always)]
fn eight(digits: u64) -> u64 {
    // Pairs, then fours, then all eight, each in one multiplication.
    let pairs = digits.wrapping_mul(1 + (10 << 8)) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(1 + (100 << 16)) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(1 + (10_000 << 32)) >> 32
}

/// The first three words of text, in each the first byte lowest.
#[inline(always)]
fn words_of(text: &[u8]) -> Option<[u64; 3]> {
    text.as_chunks().0.first_chunk().map(|words| words.map(u64::from_le_bytes))
}

/// Digits as their values, 0 to 9; other bytes are above.
#[inline(always)]
fn digits_of(word: u64) -> u64 {
    word ^ every(b'0')
}
