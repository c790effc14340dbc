//! `weir-route`: what a gateway read in a request's body, and which model version it chose for it.
//!
//! The gateway reads names out of a body without decoding it. The worker decodes it, runs what the gateway chose, and
//! refuses a body that says something else than the gateway read: a field that appears twice cannot slip past limits.

use std::{fmt, str::FromStr};

use crate::{ModelName, OipError, Version, error::shown};

/// The names in a body and their meaning: `<model as seen>;<version as seen>;<model>;<version>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRoute {
    /// The model's name in the body; empty when it has none.
    pub seen_model: String,
    /// The version or label in the body; empty when it has none.
    pub seen_version: String,
    /// The model to run.
    pub model: ModelName,
    /// The version to run.
    pub version: Version,
}

impl ResolvedRoute {
    /// Checks the names that the decoded body has against those that the gateway read.
    ///
    /// # Errors
    /// `bad-request` when they differ.
    pub fn check(&self, model: &str, version: &str) -> Result<(), OipError> {
        if self.seen_model == model && self.seen_version == version {
            return Ok(());
        }
        let (model, version) = (shown(model), shown(version));
        Err(OipError::bad_request(format!(
            "the message names model '{model}' and version '{version}', but was sent here for '{}' and '{}': name each \
             once, and the same throughout a stream",
            self.seen_model, self.seen_version
        )))
    }
}

impl fmt::Display for ResolvedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen_model, seen_version, model, version } = self;
        write!(f, "{seen_model};{seen_version};{model};{version}")
    }
}

impl FromStr for ResolvedRoute {
    type Err = OipError;

    fn from_str(text: &str) -> Result<Self, OipError> {
        let wrong = || OipError::bad_request("weir-route: expected model;version;model;version");
        let mut parts = text.split(';');
        let (Some(seen_model), Some(seen_version), Some(model), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            seen_model: seen_model.to_owned(),
            seen_version: seen_version.to_owned(),
            model: model.parse().map_err(|_| wrong())?,
            version: version.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back_as_it_was_written() {
        for (seen_model, seen_version) in [("digits", "2"), ("vision", "stable"), ("digits", ""), ("", "")] {
            let route = ResolvedRoute {
                seen_model: seen_model.to_owned(),
                seen_version: seen_version.to_owned(),
                model: "digits".parse().unwrap(),
                version: Version::new(2).unwrap(),
            };
            assert_eq!(route.to_string().parse::<ResolvedRoute>(), Ok(route.clone()));
            assert_eq!(route.check(seen_model, seen_version), Ok(()));
            assert!(route.check("other", seen_version).is_err() && route.check(seen_model, "9").is_err());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", ";;;", "a;1;b", "a;1;b;0", "a;1;b;2;c", "a;1;b c;2"] {
            assert!(text.parse::<ResolvedRoute>().is_err(), "{text}");
        }
    }
}
