//! How urgent a request is, in the words of Triton's `priority` parameter, and where that puts it in a queue.
//!
//! The gateway checks the header and passes it on, the worker reads header and parameter and orders by the class.

use std::fmt;

use crate::{OipError, error::shown};

/// The priority that a request asks for: 1 goes first, larger numbers later, 0 is the model's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Priority(pub u32);

impl Priority {
    /// Reads the value of the header `name`.
    ///
    /// # Errors
    /// `bad-request`: it is not a whole number from 0 to 4294967295.
    pub fn of_header(name: &str, value: &str) -> Result<Self, OipError> {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| {
            let message =
                format!("{name} must be a whole number from 0 to {}, not '{}'", u32::MAX, shown(value));
            OipError::bad_request(message)
        })
    }

    /// The class, 0 first, in a queue that has `levels` priorities (at least 1) and takes `default` (1 to `levels`) for
    /// 0. A priority below the lowest counts as the lowest.
    #[must_use]
    pub fn class(self, levels: u8, default: u8) -> u8 {
        let lowest = levels.saturating_sub(1);
        match self.0.checked_sub(1) {
            None => default.saturating_sub(1).min(lowest),
            Some(class) => u8::try_from(class).unwrap_or(u8::MAX).min(lowest),
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_holds_a_whole_number_and_nothing_else() {
        for (text, number) in [("0", 0), ("1", 1), ("007", 7), ("4294967295", u32::MAX)] {
            assert_eq!(Priority::of_header("x-priority", text), Ok(Priority(number)));
        }
        for text in ["", "-1", "+1", " 1", "1.0", "high", "4294967296", "１"] {
            let error = Priority::of_header("x-priority", text).unwrap_err();
            assert!(error.message.starts_with("x-priority must be a whole number from 0"), "{error}");
        }
    }

    #[test]
    fn the_first_priority_is_class_0_and_none_is_below_the_last() {
        let classes = |levels, default| [0, 1, 2, 3, 9, u32::MAX].map(|p| Priority(p).class(levels, default));
        assert_eq!(classes(1, 1), [0, 0, 0, 0, 0, 0]);
        assert_eq!(classes(3, 2), [1, 0, 1, 2, 2, 2]);
        assert_eq!(classes(16, 16), [15, 0, 1, 2, 8, 15]);
    }
}
