//! What a scenario leaves out, and how it writes times.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| D::Error::custom(format!("'{text}': {error}")))
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

pub(super) fn length() -> Duration {
    Duration::from_secs(65)
}

pub(super) fn warm_up() -> Duration {
    Duration::from_secs(5)
}

pub(super) fn ageing() -> Duration {
    Duration::from_secs(1)
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn one_bucket() -> Vec<f64> {
    vec![whole()]
}

pub(super) fn whole() -> f64 {
    1.0
}

pub(super) fn roomy() -> u32 {
    1 << 16
}
