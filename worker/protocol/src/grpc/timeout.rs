//! `grpc-timeout`: how long a client waits, as gRPC writes it ("gRPC over HTTP2", Timeout).
//!
//! Read by worker and gateway, written by the gateway for what is left of it.

use std::time::Duration;

use crate::{OipError, error::shown};

/// Name of the header.
pub const HEADER: &str = "grpc-timeout";

/// Most digits of the number.
const MAX_DIGITS: usize = 8;

/// Reads a timeout: up to eight digits and one of `H M S m u n`.
///
/// # Errors
/// `bad-request` for any other text.
pub fn parse(text: &str) -> Result<Duration, OipError> {
    let wrong = || {
        let message =
            format!("grpc-timeout '{}': expected up to 8 digits and one of H M S m u n", shown(text));
        OipError::bad_request(message)
    };
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let fits = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_: &u64| fits).ok_or_else(wrong)?;
    match unit {
        "H" => Ok(Duration::from_secs(number * 60 * 60)),
        "M" => Ok(Duration::from_secs(number * 60)),
        "S" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_millis(number)),
        "u" => Ok(Duration::from_micros(number)),
        "n" => Ok(Duration::from_nanos(number)),
        _ => Err(wrong()),
    }
}

/// Writes a timeout in the finest unit that holds it, never longer than it is.
#[must_use]
pub fn format(left: Duration) -> String {
    let end = 10_u128.pow(8);
    let units = [
        (left.as_nanos(), "n"),
        (left.as_micros(), "u"),
        (left.as_millis(), "m"),
        (u128::from(left.as_secs()), "S"),
        (u128::from(left.as_secs() / 60), "M"),
    ];
    match units.into_iter().find(|(number, _)| *number < end) {
        Some((number, unit)) => format!("{number}{unit}"),
        None => format!("{}H", (left.as_secs() / 3600).min(99_999_999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("0m", Duration::ZERO),
            ("1500u", Duration::from_micros(1500)),
            ("00000007n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "S", "1", "1s", "+1S", "-1S", "1.5S", "123456789m", "1 S", "1ä", "ä"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_never_longer() {
        for nanos in
            [0, 1, 99_999_999, 100_000_001, 123_456_789_012, 10_u64.pow(15), 10_u64.pow(18), u64::MAX]
        {
            let left = Duration::from_nanos(nanos);
            let read = parse(&format(left)).unwrap();
            assert!(read <= left && left - read <= left / 100_000, "{left:?} became {read:?}");
        }
        assert_eq!(format(Duration::MAX), "99999999H");
    }
}
