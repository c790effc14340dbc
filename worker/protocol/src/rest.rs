//! The REST surface as data: which method and path mean what.
//!
//! One parser for worker and gateway, so that the gateway's allow-list and the worker's routes cannot drift apart.
//! It looks at the path only; a query string is not part of the protocol and is ignored.

use crate::{ModelName, OipError, Reason, Version, VersionRef};

/// Paths of OpenAI's interface that name their model in the body. Weir's own workers serve none of them; foreign ones do.
pub(crate) const NAMED_IN_BODY: [&str; 7] = [
    "/v1/audio/speech",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/responses",
    "/v1/score",
];

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
    /// `GET /v2/models/M[/versions/V]/config`
    ModelConfig(Target),
    /// `GET /v2/models/M[/versions/V]/stats`; `None` for `GET /v2/models/stats`, every model.
    ModelStatistics(Option<Target>),
    /// `POST /v2/models/M[/versions/V]/infer`
    Infer(Target),
    /// `POST /v2/models/M[/versions/V]/generate` or `generate_stream`: foreign workers only.
    Generate(Target, Generate),
    /// `POST` to one of OpenAI's paths, the model named in the body: foreign workers only.
    NamedInBody(&'static str),
    /// `POST /v2/repository[/REPO]/index`
    RepositoryIndex,
    /// `POST /v2/repository[/REPO]/models/M/load`
    RepositoryLoad(ModelName),
    /// `POST /v2/repository[/REPO]/models/M/unload`
    RepositoryUnload(ModelName),
    /// `GET /v2/openapi.json`: this surface as an OpenAPI document.
    OpenApi,
    /// `GET /v2/load`, for gateways only.
    Load,
}

/// The two forms of text generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generate {
    /// `generate`: one answer.
    Whole,
    /// `generate_stream`: server-sent events.
    Stream,
}

impl Generate {
    /// Last part of the path.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Whole => "generate",
            Self::Stream => "generate_stream",
        }
    }
}

/// The model a call names, and the version if it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The model (or alias) as the client wrote it.
    pub model: ModelName,
    /// The version or label; absent = the server's choice.
    pub version: Option<VersionRef>,
}

/// Upstream path of a call about a model: `action` is `""` (metadata), `infer`, `config` and so on. Without a version
/// the call is about the model as a whole.
#[must_use]
pub fn model_path(model: &ModelName, version: Option<Version>, action: &str) -> String {
    let slash = if action.is_empty() { "" } else { "/" };
    match version {
        Some(version) => format!("/v2/models/{model}/versions/{version}{slash}{action}"),
        None => format!("/v2/models/{model}{slash}{action}"),
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
        match self {
            Self::Infer(_)
            | Self::Generate(..)
            | Self::NamedInBody(_)
            | Self::RepositoryIndex
            | Self::RepositoryLoad(_)
            | Self::RepositoryUnload(_) => "POST",
            _ => "GET",
        }
    }

    /// The model a call is about, where its path says so.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::ModelMetadata(target)
            | Self::ModelReady(target)
            | Self::ModelConfig(target)
            | Self::Infer(target)
            | Self::Generate(target, _) => Some(target),
            Self::ModelStatistics(target) => target.as_ref(),
            _ => None,
        }
    }

    fn of_path(path: &str) -> Result<Self, OipError> {
        match path {
            "/v2" | "/v2/" => return Ok(Self::ServerMetadata),
            "/v2/health/live" => return Ok(Self::Live),
            "/v2/health/ready" => return Ok(Self::Ready),
            "/v2/load" => return Ok(Self::Load),
            "/v2/openapi.json" => return Ok(Self::OpenApi),
            "/v2/models/stats" => return Ok(Self::ModelStatistics(None)),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("/v2/models/") {
            return Self::of_model(rest);
        }
        if let Some(rest) = path.strip_prefix("/v2/repository/") {
            return Self::of_repository(rest);
        }
        let named = NAMED_IN_BODY.into_iter().find(|known| *known == path);
        named.map(Self::NamedInBody).ok_or_else(not_found)
    }

    fn of_model(rest: &str) -> Result<Self, OipError> {
        let mut parts = rest.split('/');
        let name = parts.next().unwrap_or_default();
        let (version, action) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (None, ..) => (None, None),
            (Some("versions"), Some(version), action, None) => (Some(version), action),
            (Some(action), None, ..) => (None, Some(action)),
            _ => return Err(not_found()),
        };
        let of = match action {
            None => Self::ModelMetadata,
            Some("ready") => Self::ModelReady,
            Some("config") => Self::ModelConfig,
            Some("stats") => |target| Self::ModelStatistics(Some(target)),
            Some("infer") => Self::Infer,
            Some("generate") => |target| Self::Generate(target, Generate::Whole),
            Some("generate_stream") => |target| Self::Generate(target, Generate::Stream),
            Some(_) => return Err(not_found()),
        };
        let version = version.map(str::parse).transpose();
        let version = version
            .map_err(|e: crate::ids::IdError| OipError::new(Reason::VersionNotFound, e.to_string()))?;
        Ok(of(Target { model: model_name(name)?, version }))
    }

    /// The repository's own name is accepted and ignored: there is one.
    fn of_repository(rest: &str) -> Result<Self, OipError> {
        let parts: Vec<_> = rest.split('/').collect();
        match *parts {
            ["index"] | [_, "index"] => Ok(Self::RepositoryIndex),
            ["models", name, "load"] | [_, "models", name, "load"] => {
                model_name(name).map(Self::RepositoryLoad)
            }
            ["models", name, "unload"] | [_, "models", name, "unload"] => {
                model_name(name).map(Self::RepositoryUnload)
            }
            _ => Err(not_found()),
        }
    }
}

fn model_name(name: &str) -> Result<ModelName, OipError> {
    name.parse().map_err(|e| OipError::bad_request(format!("model name: {e}")))
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
        let v2 = Version::new(2).map(VersionRef::Number);
        let stable = || Some(VersionRef::Label("stable".parse().unwrap()));
        let m = || "m".parse().unwrap();
        for (method, path, call) in [
            ("GET", "/v2", RestCall::ServerMetadata),
            ("GET", "/v2/", RestCall::ServerMetadata),
            ("GET", "/v2/health/live", RestCall::Live),
            ("HEAD", "/v2/health/ready?x=1", RestCall::Ready),
            ("GET", "/v2/load?since=3", RestCall::Load),
            ("GET", "/v2/models/m", RestCall::ModelMetadata(target(None))),
            ("GET", "/v2/models/m/versions/2", RestCall::ModelMetadata(target(v2.clone()))),
            ("GET", "/v2/models/m/ready", RestCall::ModelReady(target(None))),
            ("GET", "/v2/models/m/versions/2/ready", RestCall::ModelReady(target(v2.clone()))),
            ("GET", "/v2/models/m/config", RestCall::ModelConfig(target(None))),
            ("GET", "/v2/models/m/versions/stable/config", RestCall::ModelConfig(target(stable()))),
            ("GET", "/v2/models/stats", RestCall::ModelStatistics(None)),
            ("GET", "/v2/models/m/stats", RestCall::ModelStatistics(Some(target(None)))),
            ("GET", "/v2/models/m/versions/2/stats", RestCall::ModelStatistics(Some(target(v2.clone())))),
            ("POST", "/v2/models/m/infer", RestCall::Infer(target(None))),
            ("POST", "/v2/models/m/versions/stable/infer", RestCall::Infer(target(stable()))),
            ("POST", "/v2/models/m/generate", RestCall::Generate(target(None), Generate::Whole)),
            ("POST", "/v2/models/m/generate_stream", RestCall::Generate(target(None), Generate::Stream)),
            ("POST", "/v1/chat/completions", RestCall::NamedInBody("/v1/chat/completions")),
            ("POST", "/v2/repository/index", RestCall::RepositoryIndex),
            ("POST", "/v2/repository/models/index", RestCall::RepositoryIndex),
            ("POST", "/v2/repository/models/m/load", RestCall::RepositoryLoad(m())),
            ("POST", "/v2/repository/r/models/m/unload", RestCall::RepositoryUnload(m())),
            ("GET", "/v2/openapi.json", RestCall::OpenApi),
            ("POST", "/v2/models/m/versions/2/infer", RestCall::Infer(target(v2.clone()))),
        ] {
            assert_eq!(RestCall::parse(method, path), Ok(call), "{method} {path}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        assert_eq!(reason("GET", "/"), Reason::PathNotFound);
        assert_eq!(reason("GET", "/v2/models/m/versions/2/ready/x"), Reason::PathNotFound);
        assert_eq!(reason("GET", "/v2/models/m/weights"), Reason::PathNotFound);
        assert_eq!(reason("POST", "/v2/repository/models/m/delete"), Reason::PathNotFound);
        assert_eq!(reason("POST", "/v2/repository"), Reason::PathNotFound);
        assert_eq!(reason("POST", "/v1/files"), Reason::PathNotFound);
        assert_eq!(reason("GET", "/v2/repository/index"), Reason::MethodNotAllowed);
        assert_eq!(reason("POST", "/v2/models/m"), Reason::MethodNotAllowed);
        assert_eq!(reason("TRACE", "/v2/models/m/infer"), Reason::MethodNotAllowed);
        assert_eq!(reason("HEAD", "/v2/models/m/infer"), Reason::MethodNotAllowed);
        assert_eq!(reason("POST", "/v2/models/..%2f/infer"), Reason::BadRequest);
        assert_eq!(reason("POST", "/v2/models//infer"), Reason::BadRequest);
        assert_eq!(reason("POST", "/v2/models/m/versions/0/infer"), Reason::VersionNotFound);
    }
}
