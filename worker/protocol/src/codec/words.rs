//! Eight bytes at a time: comparisons of every byte of a word with one value, in the word's own arithmetic.
//!
//! Words hold the first byte of text lowest. A comparison answers in the top bit of each byte, right up to the first
//! hit; behind it carries may have spoilt the answer, so only [`first`] may look at it. Called where JSON is read.

/// Bytes in a word.
pub(super) const WORD: usize = size_of::<u64>();
/// The top bit of every byte.
pub(super) const TOPS: u64 = every(0x80);

/// A word of one byte.
pub(super) const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; WORD])
}

/// Marks bytes that are `byte`.
#[inline(always)]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ every(byte), 1)
}

/// Marks bytes that are below `limit`, which is 128 at most.
#[inline(always)]
pub(super) fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(every(limit)) & !word & TOPS
}

/// Marks bytes that are above `limit`, which is below 128.
#[inline(always)]
pub(super) fn above(word: u64, limit: u8) -> u64 {
    (word.wrapping_add(every(0x7f - limit)) | word) & TOPS
}

/// Index of the first marked byte; 8 if there is none.
#[inline(always)]
pub(super) fn first(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Length of what comes before the first byte that `mark` marks and `is` confirms: the whole text if none is.
#[inline(always)]
pub(super) fn length_until(text: &[u8], mark: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * WORD + first(marks);
        }
    }
    let end = rest.iter().position(|byte| is(*byte)).unwrap_or(rest.len());
    words.len() * WORD + end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index that each comparison must find, byte by byte.
    fn expected(bytes: [u8; WORD], is: impl Fn(u8) -> bool) -> usize {
        bytes.iter().position(|byte| is(*byte)).unwrap_or(WORD)
    }

    #[test]
    fn the_first_hit_is_found_whatever_stands_around_it() {
        let edges =
            [0, 1, 9, 10, 0x1f, 0x20, 0x2c, 0x2d, 0x2e, 0x39, 0x3a, 0x7f, 0x80, 0x89, 0x8a, 0xd2, 0xff];
        for (at, a) in edges.into_iter().enumerate() {
            for b in edges {
                for c in edges {
                    let mut bytes = [0x30; WORD];
                    bytes[at % WORD] = a;
                    bytes[(at + 1) % WORD] = b;
                    bytes[(at + 3) % WORD] = c;
                    let word = u64::from_le_bytes(bytes);
                    for limit in [1, 0x20, 0x2d, 0x80] {
                        assert_eq!(
                            first(below(word, limit)),
                            expected(bytes, |byte| byte < limit),
                            "{bytes:x?}"
                        );
                    }
                    for limit in [0, 9, 0x39, 0x7f] {
                        assert_eq!(
                            first(above(word, limit)),
                            expected(bytes, |byte| byte > limit),
                            "{bytes:x?}"
                        );
                    }
                    assert_eq!(first(equal(word, c)), expected(bytes, |byte| byte == c), "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn a_text_is_searched_to_its_end() {
        for length in 0..40 {
            for hit in 0..=length {
                let mut text = vec![b'a'; length];
                text.iter_mut().skip(hit).for_each(|byte| *byte = b'"');
                assert_eq!(length_until(&text, |word| equal(word, b'"'), |byte| byte == b'"'), hit);
            }
        }
    }
}
