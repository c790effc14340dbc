//! What both fronts read in the head of a request: numbers, the time that its answer has, and how urgent it is.

use std::time::Duration;

use http::HeaderMap;
use weir_protocol::{OipError, Priority, headers};

/// How long the answer is useful: what the gateway says (`trusted`), and what the client says.
///
/// # Errors
/// `bad-request`: not a number, or a client that allows no time.
pub(crate) fn time_left(map: &HeaderMap, trusted: bool) -> Result<[Option<Duration>; 2], OipError> {
    let gateway = if trusted { number(map, headers::DEADLINE_US, "microseconds")? } else { None };
    Ok([gateway.map(Duration::from_micros), client_timeout(map)?])
}

/// How long workers before this one had the request, as the gateway says (`trusted`); zero when none had it.
///
/// # Errors
/// `bad-request`: not a number.
pub(crate) fn waited(map: &HeaderMap, trusted: bool) -> Result<Duration, OipError> {
    let micros = if trusted { number(map, headers::WAITED_US, "microseconds")? } else { None };
    Ok(micros.map_or(Duration::ZERO, Duration::from_micros))
}

/// What the client says, in the gateway's own words.
fn client_timeout(map: &HeaderMap) -> Result<Option<Duration>, OipError> {
    let name = headers::CLIENT_TIMEOUT_MS;
    let wrong = || OipError::bad_request(format!("{name} must be a positive number of milliseconds"));
    let millis = number(map, name, "milliseconds").map_err(|_| wrong())?;
    if millis == Some(0) { Err(wrong()) } else { Ok(millis.map(Duration::from_millis)) }
}

/// How urgent the request is: as the gateway says (`trusted`), else as the client says.
///
/// # Errors
/// `bad-request`: not a number.
pub(crate) fn priority(map: &HeaderMap, trusted: bool) -> Result<Option<Priority>, OipError> {
    let of = |name| map.get(name).map(|value| (name, value.to_str().unwrap_or_default()));
    let given = of(headers::PRIORITY).filter(|_| trusted).or_else(|| of(headers::CLIENT_PRIORITY));
    given.map(|(name, value)| Priority::of_header(name, value)).transpose()
}

/// The number in a header; `None` when it is not there.
///
/// # Errors
/// `bad-request`, with what was expected.
pub(crate) fn number(map: &HeaderMap, name: &'static str, expected: &str) -> Result<Option<u64>, OipError> {
    let Some(value) = map.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number
        .map(Some)
        .ok_or_else(|| OipError::bad_request(format!("header {name}: expected {expected}, a whole number")))
}
