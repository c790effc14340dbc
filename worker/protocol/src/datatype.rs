//! The tensor datatypes of OIP v2 (with Triton's BF16).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::shown;

/// Element type of a tensor; serialised by its protocol name (`"FP32"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "each variant is the protocol's own name for it")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// Every datatype, in protocol order.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The protocol's name, such as `FP32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// Bytes per element in the raw form; `None` for BYTES, whose elements carry their own length.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Datatype {
    /// What is wrong with the text, in words.
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|d| d.name()).collect();
            format!("unknown datatype '{}': use one of {}", shown(text), known.join(" "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_has_one_name_for_text_and_serde() {
        for datatype in Datatype::ALL {
            assert_eq!(datatype.name().parse(), Ok(datatype));
            assert_eq!(serde_json::to_value(datatype).unwrap(), datatype.name());
        }
    }

    #[test]
    fn names_give_the_size_in_bits() {
        for datatype in Datatype::ALL {
            let digits: String = datatype.name().chars().filter(char::is_ascii_digit).collect();
            let expected = match datatype {
                Datatype::Bool => Some(1),
                Datatype::Bytes => None,
                _ => digits.parse::<usize>().ok().map(|bits| bits / 8),
            };
            assert_eq!(datatype.size(), expected, "{datatype}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_list_of_known_names() {
        for text in ["", "fp32", " FP32", "STRING", "TYPE_FP32", "FP8\n"] {
            let fault = text.parse::<Datatype>().unwrap_err();
            let shown = shown(text);
            assert!(
                fault.starts_with(&format!("unknown datatype '{shown}': use one of BOOL UINT8")),
                "{fault}"
            );
            assert!(fault.ends_with("FP64 BYTES"), "{fault}");
        }
    }
}
