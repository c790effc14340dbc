//! The REST surface as data: which method and path mean what.
//!
//! One parser for worker and gateway, so that the gateway's allow-list and the worker's routes cannot drift apart.
//! It looks at the path only; a query string is not part of the protocol and is ignored.

use crate::{ModelName, OipError, Reason, Version};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestCall {
    /// `GET /v2/health/live`
    Live,
    /// `GET /v2/health/ready`
    Ready,
    /// `GET /v2` or `/v2/`
    ServerMetadata,
    /// `GET /v2/models/M[/versions/V]`
    ModelMetadata(Target),
    /// `GET /v2/models/M[/versions/V]/ready`
    ModelReady(Target),
    /// `POST /v2/models/M[/versions/V]/infer`
    Infer(Target),
    /// `GET /v2/load`, for gateways only.
    Load,
}

/// The model a call names, and the version if it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The model (or alias) as the client wrote it.
    pub model: ModelName,
    /// The version; absent = the server's choice.
    pub version: Option<Version>,
}

/// Upstream path of an inference, with the version resolved.
#[must_use]
pub fn infer_path(model: &ModelName, version: Version) -> String {
    format!("/v2/models/{model}/versions/{version}/infer")
}

/// Upstream path of model metadata, of one version or of the model as a whole.
#[must_use]
pub fn model_path(model: &ModelName, version: Option<Version>) -> String {
    match version {
        Some(version) => format!("/v2/models/{model}/versions/{version}"),
        None => format!("/v2/models/{model}"),
    }
}

impl RestCall {
    /// Parses a method and a path (query string allowed and ignored).
    ///
    /// # Errors
    /// [`Reason::PathNotFound`] for anything outside the surface, [`Reason::MethodNotAllowed`] when the path exists
    /// under another verb, [`Reason::BadRequest`] for a malformed model name, [`Reason::VersionNotFound`] for a
    /// malformed version.
    pub fn parse(method: &str, path: &str) -> Result<Self, OipError> {
        let path = path.split('?').next().unwrap_or_default();
        let call = Self::of_path(path)?;
        let wanted = call.method();
        if method == wanted || (method == "HEAD" && wanted == "GET") {
            return Ok(call);
        }
        Err(OipError::new(Reason::MethodNotAllowed, format!("use {wanted} for {path}")))
    }

    /// The verb of this call.
    #[must_use]
    pub fn method(&self) -> &'static str {
        if matches!(self, Self::Infer(_)) { "POST" } else { "GET" }
    }

    /// The model a call is about.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::ModelMetadata(target) | Self::ModelReady(target) | Self::Infer(target) => Some(target),
            Self::Live | Self::Ready | Self::ServerMetadata | Self::Load => None,
        }
    }

    fn of_path(path: &str) -> Result<Self, OipError> {
        match path {
            "/v2" | "/v2/" => return Ok(Self::ServerMetadata),
            "/v2/health/live" => return Ok(Self::Live),
            "/v2/health/ready" => return Ok(Self::Ready),
            "/v2/load" => return Ok(Self::Load),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/models/").ok_or_else(not_found)?;
        let mut parts = rest.split('/');
        let name = parts.next().unwrap_or_default();
        let (version, action) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (None, ..) => (None, None),
            (Some("versions"), Some(version), action, None) => (Some(version), action),
            (Some(action), None, ..) => (None, Some(action)),
            _ => return Err(not_found()),
        };
        if !matches!(action, None | Some("ready" | "infer")) {
            return Err(not_found());
        }
        let target = Target {
            model: name.parse().map_err(|e| OipError::bad_request(format!("model name: {e}")))?,
            version: version
                .map(str::parse)
                .transpose()
                .map_err(|e: crate::ids::IdError| OipError::new(Reason::VersionNotFound, e.to_string()))?,
        };
        Ok(match action {
            None => Self::ModelMetadata(target),
            Some("ready") => Self::ModelReady(target),
            Some(_) => Self::Infer(target),
        })
    }
}

fn not_found() -> OipError {
    OipError::new(
        Reason::PathNotFound,
        "no such path: see GET /v2 and POST /v2/models/MODEL[/versions/VERSION]/infer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(method: &str, path: &str) -> Reason {
        RestCall::parse(method, path).unwrap_err().reason
    }

    #[test]
    fn every_call_of_the_surface_is_recognised() {
        let target = |version| Target { model: "m".parse().unwrap(), version };
        let v2 = Version::new(2);
        for (method, path, call) in [
            ("GET", "/v2", RestCall::ServerMetadata),
            ("GET", "/v2/", RestCall::ServerMetadata),
            ("GET", "/v2/health/live", RestCall::Live),
            ("HEAD", "/v2/health/ready?x=1", RestCall::Ready),
            ("GET", "/v2/load?since=3", RestCall::Load),
            ("GET", "/v2/models/m", RestCall::ModelMetadata(target(None))),
            ("GET", "/v2/models/m/versions/2", RestCall::ModelMetadata(target(v2))),
            ("GET", "/v2/models/m/ready", RestCall::ModelReady(target(None))),
            ("GET", "/v2/models/m/versions/2/ready", RestCall::ModelReady(target(v2))),
            ("POST", "/v2/models/m/infer", RestCall::Infer(target(None))),
            ("POST", "/v2/models/m/versions/2/infer", RestCall::Infer(target(v2))),
        ] {
            assert_eq!(RestCall::parse(method, path), Ok(call), "{method} {path}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        assert_eq!(reason("GET", "/"), Reason::PathNotFound);
        assert_eq!(reason("GET", "/v2/models/m/versions/2/ready/x"), Reason::PathNotFound);
        assert_eq!(reason("GET", "/v2/models/m/config"), Reason::PathNotFound);
        assert_eq!(reason("POST", "/v2/models/m"), Reason::MethodNotAllowed);
        assert_eq!(reason("TRACE", "/v2/models/m/infer"), Reason::MethodNotAllowed);
        assert_eq!(reason("HEAD", "/v2/models/m/infer"), Reason::MethodNotAllowed);
        assert_eq!(reason("POST", "/v2/models/..%2f/infer"), Reason::BadRequest);
        assert_eq!(reason("POST", "/v2/models//infer"), Reason::BadRequest);
        assert_eq!(reason("POST", "/v2/models/m/versions/0/infer"), Reason::VersionNotFound);
    }
}
