//! The parameters of a request that mean something here; all others are ignored, `triton_` ones too.
//!
//! Numbers are read however they were written. Part of `bind`; pure.

use std::time::Duration;

use weir_protocol::{
    OipError, Priority,
    infer::{Parameter, Parameters},
};

/// What the parameters of a request say of its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::infer) struct Wishes {
    /// `timeout`, which is in microseconds, 0 for none.
    pub(in crate::infer) timeout: Option<Duration>,
    /// `priority`.
    pub(in crate::infer) priority: Option<Priority>,
}

/// Checks the parameters.
///
/// # Errors
/// `bad-request`: a value that the parameter cannot have, or a sequence, which needs a model with state.
pub(super) fn read(parameters: &Parameters) -> Result<Wishes, OipError> {
    let timeout = number(parameters, "timeout", u64::MAX, "a whole number of microseconds, 0 or more")?;
    let priority =
        number(parameters, "priority", u64::from(u32::MAX), "a whole number from 0 to 4294967295")?;
    if of_sequence(parameters) {
        let message = "sequences need a stateful model: send the request without sequence_id, \
                       sequence_start and sequence_end";
        return Err(OipError::bad_request(message));
    }
    Ok(Wishes {
        timeout: timeout.filter(|micros| *micros > 0).map(Duration::from_micros),
        priority: priority.map(|number| Priority(u32::try_from(number).unwrap_or(u32::MAX))),
    })
}

fn number(parameters: &Parameters, name: &str, most: u64, expected: &str) -> Result<Option<u64>, OipError> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let value = parameter.as_u64().filter(|value| *value <= most);
    value.map(Some).ok_or_else(|| OipError::bad_request(format!("parameter '{name}': expected {expected}")))
}

/// Whether a request says that it is one of several that belong together. Clients send 0 or nothing for no sequence.
fn of_sequence(parameters: &Parameters) -> bool {
    let flag = |name| parameters.get(name).and_then(Parameter::as_bool) == Some(true);
    let id = parameters.get("sequence_id").is_some_and(|id| match id {
        Parameter::String(text) => !text.is_empty(),
        other => other.as_u64() != Some(0),
    });
    id || flag("sequence_start") || flag("sequence_end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str, value: impl Into<Parameter>) -> Result<Wishes, OipError> {
        read(&Parameters::from([(name.to_owned(), value.into())]))
    }

    #[test]
    fn a_timeout_is_microseconds_in_any_kind_of_number() {
        let timeout = |micros| Ok(Wishes { timeout: Some(Duration::from_micros(micros)), priority: None });
        let expected = timeout(1500);
        assert_eq!(read_one("timeout", 1500_i64), expected);
        assert_eq!(read_one("timeout", 1500_u64), expected);
        assert_eq!(read_one("timeout", 1500.0), expected);
        assert_eq!(read_one("timeout", "1500"), expected);
        assert_eq!(read_one("timeout", 0_i64), Ok(Wishes::default()));
        assert_eq!(read_one("timeout", u64::MAX), timeout(u64::MAX));
        assert_eq!(read(&Parameters::new()), Ok(Wishes::default()));
    }

    #[test]
    fn values_that_a_parameter_cannot_have_are_named() {
        for (name, value) in [
            ("timeout", Parameter::Int(-1)),
            ("timeout", Parameter::Float(0.5)),
            ("timeout", Parameter::Bool(true)),
            ("timeout", Parameter::String("soon".to_owned())),
            ("priority", Parameter::Int(-1)),
            ("priority", Parameter::Int(1 << 32)),
            ("priority", Parameter::String("high".to_owned())),
        ] {
            let error = read_one(name, value.clone()).unwrap_err();
            assert!(
                error.message.starts_with(&format!("parameter '{name}': expected a whole number")),
                "{value:?}"
            );
        }
        let priority = |number| Ok(Wishes { timeout: None, priority: Some(Priority(number)) });
        assert_eq!(read_one("priority", i64::from(u32::MAX)), priority(u32::MAX));
        assert_eq!(read_one("priority", 1.0), priority(1));
        assert_eq!(read_one("priority", "0"), priority(0), "the default, whatever a header says");
    }

    #[test]
    fn sequences_are_refused_and_what_means_none_is_not() {
        for (name, value) in [
            ("sequence_id", Parameter::Int(7)),
            ("sequence_id", Parameter::Int(-7)),
            ("sequence_id", Parameter::Uint(u64::MAX)),
            ("sequence_id", Parameter::String("a".to_owned())),
            ("sequence_start", Parameter::Bool(true)),
            ("sequence_end", Parameter::Bool(true)),
        ] {
            let error = read_one(name, value.clone()).unwrap_err();
            assert!(error.message.starts_with("sequences need a stateful model"), "{name} {value:?}");
        }
        for (name, value) in [
            ("sequence_id", Parameter::Int(0)),
            ("sequence_id", Parameter::String(String::new())),
            ("sequence_start", Parameter::Bool(false)),
            ("triton_enable_empty_final_response", Parameter::Bool(true)),
            ("anything", Parameter::String("else".to_owned())),
        ] {
            assert_eq!(read_one(name, value), Ok(Wishes::default()), "{name}");
        }
    }
}
