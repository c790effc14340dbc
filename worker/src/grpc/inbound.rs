//! The head of a gRPC call: who calls, until when, for which model, in which coding.
//!
//! Only a trusted peer's `weir-*` headers count. Read once, before the first message.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, request::Parts};
use weir_protocol::{
    OipError, Priority, Reason,
    grpc::{GrpcCall, timeout},
    headers,
    rest::Target,
    route::ResolvedRoute,
};

use super::coding::{self, Coding};
use crate::{
    http::head,
    infer::{Rejection, admission},
    model::store::Unresolved,
    server::Worker,
};

/// The head of a call.
pub(super) struct Inbound {
    /// The head itself.
    pub(super) parts: Parts,
    /// Whether its sender may be a gateway: its internal headers count.
    pub(super) trusted: bool,
}

/// What the head says.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The method.
    pub(super) call: GrpcCall,
    /// The names that a gateway read, and what they mean.
    pub(super) route: Option<ResolvedRoute>,
    /// When answers stop being useful, on the worker's clock.
    pub(super) deadline: Option<Duration>,
    /// How long other workers had the call before.
    pub(super) waited: Duration,
    /// How urgent its requests are, where they do not say it themselves.
    pub(super) priority: Option<Priority>,
    /// Coding of compressed messages from the client.
    pub(super) coding: Option<Coding>,
    /// Coding of the answers.
    pub(super) answers: Option<Coding>,
    /// Whether a gateway asks.
    pub(super) from_gateway: bool,
}

impl Inbound {
    /// Reads the head.
    ///
    /// # Errors
    /// No such method, a message format or coding that is not offered, a header that does not say what it should.
    pub(super) fn terms(&self, worker: &Worker) -> Result<Terms, OipError> {
        let map = &self.parts.headers;
        let path = self.parts.uri.path();
        let no_such = || OipError::new(Reason::PathNotFound, "no such method: server reflection lists them");
        let call = GrpcCall::parse(path).ok_or_else(no_such)?;
        if self.parts.method != http::Method::POST {
            return Err(OipError::new(Reason::MethodNotAllowed, "use POST for gRPC calls"));
        }
        check_format(map)?;
        let coding = coding::of_requests(map)?;
        let left = head::time_left(map, self.trusted)?;
        let timeout = text(map, timeout::HEADER).map(timeout::parse).transpose()?;
        let route = text(map, headers::ROUTE).filter(|_| self.trusted).map(str::parse).transpose()?;
        Ok(Terms {
            call,
            route,
            deadline: admission::deadline(worker, left.into_iter().chain([timeout])),
            waited: head::waited(map, self.trusted)?,
            priority: head::priority(map, self.trusted)?,
            coding,
            answers: coding::of_answers(coding, map),
            from_gateway: self.gateway_id().is_some(),
        })
    }

    /// The id that a gateway gave the call.
    pub(super) fn gateway_id(&self) -> Option<&HeaderValue> {
        self.parts.headers.get(headers::REQUEST_ID).filter(|_| self.trusted)
    }
}

impl Terms {
    /// The model version that a message asks for, by the names in it.
    ///
    /// # Errors
    /// A name that is none, or one that a gateway read otherwise.
    pub(super) fn target(&self, model: &str, version: &str) -> Result<Target, OipError> {
        if let Some(route) = &self.route {
            route.check(model, version)?;
            return Ok(Target { model: route.model.clone(), version: Some(route.version.into()) });
        }
        if model.is_empty() {
            return Err(OipError::bad_request("the message names no model"));
        }
        let bad_name = |error| OipError::bad_request(format!("model name: {error}"));
        let bad_version =
            |error: weir_protocol::ids::IdError| OipError::new(Reason::VersionNotFound, error.to_string());
        let version = if version.is_empty() { None } else { Some(version.parse().map_err(bad_version)?) };
        Ok(Target { model: model.parse().map_err(bad_name)?, version })
    }

    /// As [`Self::target`], for calls about a model as a whole: without a version where the client named none, although
    /// a gateway chose one.
    ///
    /// # Errors
    /// As [`Self::target`].
    pub(super) fn subject(&self, model: &str, version: &str) -> Result<Target, OipError> {
        let Target { model, version: chosen } = self.target(model, version)?;
        Ok(Target { model, version: chosen.filter(|_| !version.is_empty()) })
    }

    /// The rejection of a name that leads to no version.
    pub(super) fn unresolved(&self, unresolved: &Unresolved) -> Rejection {
        Rejection::unresolved(unresolved, self.from_gateway)
    }
}

/// The value of a header; one that is no text reads as empty.
pub(super) fn text<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    map.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Messages are protocol buffers; gRPC leaves room for others.
fn check_format(map: &HeaderMap) -> Result<(), OipError> {
    let kind = text(map, "content-type").unwrap_or_default();
    match kind.split([';', ' ']).next() {
        Some("application/grpc" | "application/grpc+proto") => Ok(()),
        _ => Err(OipError::new(Reason::UnsupportedEncoding, "messages must be application/grpc+proto")),
    }
}
