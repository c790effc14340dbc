//! Names and numbers that identify things: models, versions, workers.
//!
//! Each is parsed once, at the edge; below that a value of these types is known to be well formed, so a name can
//! be put into a path, a header or a metric label without another look.

use std::{fmt, num::NonZeroU64, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::error::shown;

/// Longest model or worker name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a name or version was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    #[error(
        "'{shown}' is not a valid name: use 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
    )]
    Name {
        /// The offending text, shortened to 64 characters, control characters escaped.
        shown: String,
    },
    /// The text is neither a positive integer without sign or leading zero that fits 64 bits nor, where labels are
    /// allowed, a label.
    #[error("'{shown}' is not a version: use a positive integer such as 1, or a label")]
    Version {
        /// The offending text, shortened to 64 characters, control characters escaped.
        shown: String,
    },
}

fn check_name(text: &str) -> Result<Arc<str>, IdError> {
    let body = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if starts && text.len() <= MAX_NAME_BYTES && text.as_bytes().iter().all(body) {
        Ok(Arc::from(text))
    } else {
        Err(IdError::Name { shown: shown(text) })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 128 bytes of `[A-Za-z0-9._-]`, beginning with a letter or digit. Cheap to clone.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The name under which clients ask for a model.
    ModelName
}
name_type! {
    /// The name under which an operator registers a worker.
    WorkerId
}

/// One version of a model: a positive integer, the name of its folder in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(NonZeroU64);

impl Version {
    /// Version 1.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// A version from its number; `None` for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number, at least 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Version {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number = if digits { text.parse().ok() } else { None };
        number.and_then(Self::new).ok_or_else(|| IdError::Version { shown: shown(text) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

name_type! {
    /// A word for a version, such as `stable`: what clients say where they would say a number.
    ///
    /// Never all digits: those are versions.
    Label
}

/// A version as a client names it: its number, or a label that means one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionRef {
    /// The version itself.
    Number(Version),
    /// A label; worker and gateway each know their own.
    Label(Label),
}

impl VersionRef {
    /// The number, unless it is a label.
    #[must_use]
    pub fn number(&self) -> Option<Version> {
        match self {
            Self::Number(version) => Some(*version),
            Self::Label(_) => None,
        }
    }
}

impl From<Version> for VersionRef {
    fn from(version: Version) -> Self {
        Self::Number(version)
    }
}

impl FromStr for VersionRef {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Number);
        }
        text.parse().map(Self::Label).map_err(|_| IdError::Version { shown: shown(text) })
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(version) => version.fmt(f),
            Self::Label(label) => label.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_alphabet_or_length_are_refused() {
        for bad in ["", ".a", "-a", "a/b", "a b", "ä", "a\0", &"a".repeat(129)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "0", "digits", "a.b_c-d", &"a".repeat(128)] {
            assert_eq!(good.parse::<ModelName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn versions_are_positive_integers_without_leading_zero() {
        for bad in ["", "0", "01", "-1", "+1", "1.0", "v1", "99999999999999999999"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("18446744073709551615".parse::<Version>().unwrap().number(), u64::MAX);
    }

    #[test]
    fn digits_are_versions_and_words_are_labels() {
        assert_eq!("7".parse(), Ok(VersionRef::Number(Version::new(7).unwrap())));
        assert_eq!("v10".parse(), Ok(VersionRef::Label("v10".parse().unwrap())));
        for bad in ["", "0", "01", "-1", "a/b", ".x"] {
            assert!(bad.parse::<VersionRef>().is_err(), "{bad:?} was accepted");
        }
    }
}
