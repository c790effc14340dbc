//! Parameters of requests and responses: a name and a string, number or bool (OIP v2).
//!
//! Clients write the same number as a JSON integer, a JSON float, any of gRPC's numeric kinds or a string of digits;
//! the accessors here read them all alike, so that nobody who asks for a parameter depends on how it travelled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// 2^64 as an FP64: the first one that a `u64` does not hold.
const U64_END: f64 = 18_446_744_073_709_551_616.0;

/// A request or response parameter: string, number or bool (OIP v2). [`From`] gives each number its one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that an `i64` holds.
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    /// Any other number; always finite when decoded.
    Float(f64),
    /// Text.
    String(String),
}

/// Parameters by name, in a stable order.
pub type Parameters = BTreeMap<String, Parameter>;

impl Parameter {
    /// The whole number from 0 to 2^64 - 1 that this stands for, whichever way it was written: an integer, a float
    /// without a fraction, a string of digits. `None` for anything else.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Bool(_) => None,
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::Uint(value) => Some(*value),
            Self::Float(value) => {
                let whole = value.fract() == 0.0 && (0.0..U64_END).contains(value);
                whole.then_some(*value as u64)
            }
            // `parse` alone would take a plus sign.
            Self::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Self::String(_) => None,
        }
    }

    /// The truth value that this stands for: a bool, or the string `true` or `false`. `None` for anything else.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<bool> for Parameter {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Parameter {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Parameter {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Uint(value), Self::Int)
    }
}

impl From<f64> for Parameter {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<String> for Parameter {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_reads_alike_however_it_was_written() {
        for (parameter, value) in [
            (Parameter::from(7_i64), Some(7)),
            (Parameter::from(7_u64), Some(7)),
            (Parameter::from(7.0), Some(7)),
            (Parameter::from(-0.0), Some(0)),
            (Parameter::from("007"), Some(7)),
            (Parameter::from(u64::MAX), Some(u64::MAX)),
            (Parameter::from("18446744073709551615"), Some(u64::MAX)),
            (Parameter::from(9_007_199_254_740_992.0), Some(1 << 53)),
            (Parameter::from(-1_i64), None),
            (Parameter::from(-1.0), None),
            (Parameter::from(0.5), None),
            (Parameter::from(U64_END), None),
            (Parameter::from(f64::NAN), None),
            (Parameter::from(f64::INFINITY), None),
            (Parameter::from("18446744073709551616"), None),
            (Parameter::from(""), None),
            (Parameter::from("+7"), None),
            (Parameter::from("-7"), None),
            (Parameter::from("7.0"), None),
            (Parameter::from(" 7"), None),
            (Parameter::from(true), None),
        ] {
            assert_eq!(parameter.as_u64(), value, "{parameter:?}");
        }
    }

    #[test]
    fn each_number_has_one_form_and_keeps_it_in_json() {
        assert_eq!(Parameter::from(1_u64), Parameter::Int(1));
        assert_eq!(Parameter::from(i64::MAX as u64), Parameter::Int(i64::MAX));
        assert_eq!(Parameter::from(i64::MAX as u64 + 1), Parameter::Uint(1 << 63));
        for (parameter, json) in [
            (Parameter::from(true), "true"),
            (Parameter::from(i64::MIN), "-9223372036854775808"),
            (Parameter::from(u64::MAX), "18446744073709551615"),
            (Parameter::from(0.5), "0.5"),
            (Parameter::from("0.5"), "\"0.5\""),
        ] {
            assert_eq!(serde_json::to_string(&parameter).unwrap(), json);
            assert_eq!(serde_json::from_str::<Parameter>(json).unwrap(), parameter);
        }
    }

    #[test]
    fn truth_and_text_are_told_from_numbers() {
        for (parameter, truth, text) in [
            (Parameter::from(false), Some(false), None),
            (Parameter::from("true"), Some(true), Some("true")),
            (Parameter::from("True"), None, Some("True")),
            (Parameter::from(1_i64), None, None),
            (Parameter::from(1.0), None, None),
        ] {
            assert_eq!((parameter.as_bool(), parameter.as_str()), (truth, text), "{parameter:?}");
        }
    }
}
