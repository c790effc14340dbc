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
