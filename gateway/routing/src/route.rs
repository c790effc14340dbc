//! `[[route]]` rules: conditions on a request, and where matching ones go. First match wins.
//!
//! Only matches; what the target means is resolved in the directory afterwards, and never matched again, so rules
//! cannot loop. Built by the registry from configuration, asked by the proxy once per request.

use std::sync::Arc;

use globset::GlobMatcher;
use weir_protocol::{ModelName, Version};

use crate::{Labels, Policy};

/// One rule. All given conditions must hold; without any it matches every request.
#[derive(Debug, Clone)]
pub struct RouteRule {
    /// Name in the access log.
    pub name: String,
    /// Matches the model name the client asked for.
    pub model: Option<GlobMatcher>,
    /// The host the client asked for, without port, lower case.
    pub host: Option<String>,
    /// Header names, lower case, each with the exact value it must have; `None`: any value, but present.
    pub headers: Vec<(String, Option<String>)>,
    /// The model to use instead of the one asked for.
    pub to_model: Option<ModelName>,
    /// The version to use instead of the one asked for.
    pub to_version: Option<Version>,
    /// Labels that the worker must carry.
    pub labels: Arc<Labels>,
    /// The policy to use instead of the model's.
    pub policy: Option<Policy>,
}

/// The rules in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct RouteTable(Vec<RouteRule>);

impl RouteTable {
    /// A table of these rules, first match first.
    #[must_use]
    pub fn new(rules: Vec<RouteRule>) -> Self {
        Self(rules)
    }

    /// The first rule that matches a request for `model` at `host` (without port; any case). `header` gives the
    /// value of a header by its lower-case name; for a value that is not text it may give any text, which then
    /// counts as present.
    pub fn find<'h>(
        &self,
        model: &ModelName,
        host: Option<&str>,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<&RouteRule> {
        self.0.iter().find(|rule| rule.matches(model, host, &header))
    }
}

impl RouteRule {
    fn matches<'h>(
        &self,
        model: &ModelName,
        host: Option<&str>,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> bool {
        self.model.as_ref().is_none_or(|glob| glob.is_match(model.as_str()))
            && self.host.as_ref().is_none_or(|want| host.is_some_and(|host| host.eq_ignore_ascii_case(want)))
            && self.headers.iter().all(|(name, want)| match (header(name), want) {
                (Some(value), Some(want)) => value == want,
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            })
    }
}

#[cfg(test)]
mod tests;
