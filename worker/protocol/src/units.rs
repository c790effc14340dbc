//! Sizes in bytes, as a type of their own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A size in bytes. Written by people as `"16 MiB"`, on the wire as an integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// A size from its number of mebibytes (2^20 bytes), saturating.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// A size from its number of kibibytes (2^10 bytes), saturating.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// The number of bytes as a `usize`, saturating where `usize` is narrower.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    /// What is wrong with the text, in words.
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", bytesize::ByteSize(self.0).display().iec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_sizes_with_a_unit_and_the_wire_carries_bytes() {
        for (text, bytes) in [
            ("16 MiB", Bytes::mib(16)),
            ("1KiB", Bytes::kib(1)),
            ("1.5 GiB", Bytes(3 << 29)),
            ("2 kB", Bytes(2000)),
            ("7", Bytes(7)),
        ] {
            assert_eq!(text.parse(), Ok(bytes), "{text}");
            assert_eq!(serde_json::to_value(bytes).unwrap(), bytes.0);
        }
        for text in ["", "MiB", "-1 MiB", "16 apples"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn sizes_saturate_instead_of_wrapping() {
        assert_eq!(Bytes::mib(u64::MAX), Bytes(u64::MAX));
        assert_eq!(Bytes::kib(u64::MAX), Bytes(u64::MAX));
        assert_eq!(Bytes(u64::MAX).as_usize() as u64, u64::MAX);
    }

    #[test]
    fn a_whole_size_reads_back_as_it_is_shown() {
        for bytes in [Bytes(0), Bytes(1023), Bytes::kib(1), Bytes::mib(16), Bytes::mib(3 << 10)] {
            assert_eq!(bytes.to_string().parse(), Ok(bytes), "{bytes}");
        }
    }
}
