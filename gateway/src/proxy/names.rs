//! Which model version a request means.
//!
//! Gathers the names that a client gave (path, body, `x-model`), refuses those that contradict each other, and resolves
//! them: a matching route's wishes first, then labels, then what the fleet knows. Called by [`super::local`] and
//! [`super::grpc`] once the names are at hand.

use std::{fmt, str::FromStr, sync::Arc};

use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use weir_protocol::{
    Label, ModelName, OipError, Reason, Version, VersionRef,
    grpc::GrpcCall,
    headers,
    ids::IdError,
    rest::{RestCall, Target},
    route::ResolvedRoute,
};
use weir_routing::{Exclusions, Labels, Needs, Policy, Unresolved};

use crate::registry::Snapshot;

/// What a request asks of the fleet, every name resolved.
#[derive(Debug)]
pub(super) struct Asked {
    /// The call, with names as the client wrote them.
    pub(super) call: Call,
    /// The model that answers.
    pub(super) model: ModelName,
    /// Its version.
    pub(super) version: Version,
    /// Whether client or route named the version; else it is the directory's choice.
    pub(super) version_named: bool,
    /// How a replica is picked.
    pub(super) policy: Policy,
    /// Labels that the worker must carry.
    pub(super) labels: Arc<Labels>,
    /// The route that matched, for the access log.
    pub(super) route: Option<String>,
    /// The names in the body, where a body names the model.
    pub(super) seen: Option<Seen>,
}

impl Asked {
    /// What the worker must have.
    pub(super) fn needs(&self) -> Needs<'_> {
        self.call.needs(&self.labels)
    }

    /// What tells a worker the meaning of names that it finds in the body itself.
    pub(super) fn resolved(&self) -> Option<ResolvedRoute> {
        let seen = self.seen.as_ref()?;
        Some(ResolvedRoute {
            seen_model: seen.model.clone(),
            seen_version: seen.version.clone(),
            model: self.model.clone(),
            version: self.version,
        })
    }
}

/// A call in either form of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// REST.
    Rest(RestCall),
    /// gRPC.
    Grpc(GrpcCall),
}

impl Call {
    fn needs<'a>(&self, labels: &'a Labels) -> Needs<'a> {
        Needs { labels, grpc: matches!(self, Self::Grpc(_)) }
    }
}

/// The names in a body, word for word; each empty when it is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The model.
    pub(super) model: String,
    /// The version or label.
    pub(super) version: String,
}

impl Seen {
    /// Whether a body names a model, and not this one.
    pub(super) fn says_other_than(&self, model: &ModelName) -> bool {
        !self.model.is_empty() && self.model != model.as_str()
    }
}

/// The names that a client gave, from wherever, with no contradiction among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    model: ModelName,
    version: Option<VersionRef>,
    seen: Option<Seen>,
}

impl Names {
    /// Names in a path, which always has the model; `x-model-version` may add the version.
    ///
    /// # Errors
    /// `bad-request`: a header says something else than the path, or no name.
    pub(super) fn in_path(target: &Target, fields: &HeaderMap) -> Result<Self, OipError> {
        let model = one_of(headers::CLIENT_MODEL, Some(target.model.clone()), fields)?;
        let version = one_of(headers::CLIENT_MODEL_VERSION, target.version.clone(), fields)?;
        Ok(Self { model: model.unwrap_or_else(|| target.model.clone()), version, seen: None })
    }

    /// Names in a body, where headers may say what the body leaves out.
    ///
    /// # Errors
    /// `bad-request`: no model anywhere, a header says something else than the body, or no name;
    /// `version-not-found`: no version.
    pub(super) fn in_body(seen: Seen, fields: &HeaderMap) -> Result<Self, OipError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let model = given(&seen.model).map(|text| text.parse()).transpose();
        let model = model.map_err(|e: IdError| OipError::bad_request(format!("model name: {e}")))?;
        let version = given(&seen.version).map(|text| text.parse()).transpose();
        let version = version.map_err(|e: IdError| OipError::new(Reason::VersionNotFound, e.to_string()))?;
        let model = one_of(headers::CLIENT_MODEL, model, fields)?;
        let version = one_of(headers::CLIENT_MODEL_VERSION, version, fields)?;
        let model = model.ok_or_else(|| {
            OipError::bad_request("the request names no model: name it in the body, or in x-model")
        })?;
        Ok(Self { model, version, seen: Some(seen) })
    }
}

/// The value that stands elsewhere, or that of the header; both must say the same.
fn one_of<T>(header: &str, elsewhere: Option<T>, fields: &HeaderMap) -> Result<Option<T>, OipError>
where
    T: FromStr<Err: fmt::Display> + fmt::Display + PartialEq,
{
    let mut values = fields.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(elsewhere) };
    if values.next().is_some() {
        return Err(OipError::bad_request(format!("send one {header}")));
    }
    let named = value.to_str().map_err(|_| OipError::bad_request(format!("{header}: not text")))?;
    let named: T = named.parse().map_err(|e| OipError::bad_request(format!("{header}: {e}")))?;
    match elsewhere {
        Some(other) if other != named => Err(OipError::bad_request(format!(
            "{header} says '{named}' and the request itself '{other}': name one of them"
        ))),
        _ => Ok(Some(named)),
    }
}

/// Finds the model version that names mean: the first matching route's wishes, else the names as they stand.
///
/// # Errors
/// `model-not-found`, `version-not-found`, or that it is not known yet (`starting`, `not-ready`).
pub(super) fn resolve(
    snapshot: &Snapshot,
    request: &RequestHeader,
    names: Names,
    call: Call,
) -> Result<Asked, OipError> {
    let Names { model, version, seen } = names;
    let field = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let rule = snapshot.routes.find(&model, host(request), field);
    let labels = rule.map(|rule| rule.labels.clone()).unwrap_or_default();
    let wanted_model = rule.and_then(|rule| rule.to_model.as_ref()).unwrap_or(&model);
    let wanted_version = match (rule.and_then(|rule| rule.to_version), version) {
        (Some(version), _) | (None, Some(VersionRef::Number(version))) => Some(version),
        (None, Some(VersionRef::Label(label))) => Some(labelled(snapshot, wanted_model, &label)?),
        (None, None) => None,
    };
    let (known, pool) = snapshot
        .directory
        .resolve(wanted_model, wanted_version, call.needs(&labels))
        .map_err(|unresolved| unresolved_error(wanted_model, wanted_version, &unresolved))?;
    let policy = rule.and_then(|rule| rule.policy).unwrap_or(known.policy);
    let logged = rule.filter(|_| snapshot.config.gateway.access_log);
    let route = logged.map(|rule| rule.name.clone());
    let (model, version) = (pool.model.clone(), pool.version);
    Ok(Asked { call, model, version, version_named: wanted_version.is_some(), policy, labels, route, seen })
}

/// The version that a label of this model stands for.
fn labelled(snapshot: &Snapshot, model: &ModelName, label: &Label) -> Result<Version, OipError> {
    let labels = snapshot.config.models.get(model).map(|settings| &settings.version_labels);
    if let Some(version) = labels.and_then(|labels| labels.get(label)) {
        return Ok(*version);
    }
    let Some((_, known)) = snapshot.directory.models().find(|(name, _)| *name == model) else {
        let unresolved = snapshot.directory.resolve(model, None, Needs::rest(&Labels::new())).err();
        return Err(unresolved_error(model, None, &unresolved.unwrap_or(Unresolved::UnknownModel)));
    };
    let versions = known.versions.keys().map(ToString::to_string);
    let words = labels.into_iter().flat_map(|labels| labels.keys()).map(ToString::to_string);
    let known: Vec<_> = versions.chain(words).collect();
    let message = format!("model '{model}' has no version '{label}': it has {}", known.join(", "));
    Err(OipError::new(Reason::VersionNotFound, message))
}

/// The host a client asked for: `Host`, or `:authority` on HTTP/2, without its port.
fn host(request: &RequestHeader) -> Option<&str> {
    let field = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let text = field.or_else(|| request.uri.authority().map(http::uri::Authority::as_str))?;
    if text.starts_with('[') {
        return text.split_inclusive(']').next();
    }
    text.split(':').next()
}

fn unresolved_error(model: &ModelName, version: Option<Version>, unresolved: &Unresolved) -> OipError {
    match unresolved {
        Unresolved::Starting => OipError::new(
            Reason::Starting,
            format!(
                "model '{model}' is not known yet: some workers have not reported; try again in a moment"
            ),
        ),
        Unresolved::UnknownModel => OipError::new(
            Reason::ModelNotFound,
            format!(
                "no worker has a model '{model}': check the name against GET /v1/models of the admin API"
            ),
        ),
        Unresolved::UnknownVersion { known } => {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            let asked = version.map(|v| v.to_string()).unwrap_or_default();
            OipError::new(
                Reason::VersionNotFound,
                format!("model '{model}' has no version {asked}: known versions are {}", known.join(", ")),
            )
        }
        Unresolved::NotReady => not_ready(model),
    }
}

/// What to answer when a model is known and nothing can take the request.
pub(super) fn not_ready(model: &ModelName) -> OipError {
    not_ready_because(model, &Exclusions::default())
}

/// The same, with how many workers were left out for which reason.
pub(super) fn not_ready_because(model: &ModelName, excluded: &Exclusions) -> OipError {
    let reasons: Vec<_> =
        excluded.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" (workers: {})", reasons.join(", ")) };
    let message = format!("model '{model}' is known, but no worker can serve it now{why}; try again later");
    OipError::new(Reason::NotReady, message)
}

#[cfg(test)]
mod tests;
