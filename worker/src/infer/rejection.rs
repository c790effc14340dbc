//! A request that gets no result: the error, and whether that is a refusal.
//!
//! A refusal says that the request was not started, so that a gateway may safely try elsewhere. Made all over
//! `infer` and `http`; turned into a response in one place, `http::respond`.

use weir_protocol::{OipError, Reason, Refusal};

use crate::model::store::Unresolved;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejection {
    /// What the client is told.
    pub error: OipError,
    /// Set when the request was not started.
    pub refusal: Option<Refusal>,
}

impl Rejection {
    /// A request that was not started.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::Bounced => "the worker would take longer than the gateway allows",
            Refusal::QueueFull => "the queue is full: try again later",
            Refusal::Deadline => "the deadline passed before the model could start",
            Refusal::Memory => "there is not enough memory",
            Refusal::Draining => "the worker is shutting down",
            Refusal::NotReady => "the model is not ready",
        };
        Self { error: OipError::new(refusal.reason(), message), refusal: Some(refusal) }
    }

    /// A name that leads to no serving version. A gateway asks for what this worker told it that it has, so what is
    /// not here is not here any more: a refusal, after which the gateway looks elsewhere. Anybody else hears 404.
    #[must_use]
    pub fn unresolved(unresolved: &Unresolved, from_gateway: bool) -> Self {
        let (reason, refusal) = match unresolved {
            Unresolved::NotReady { .. } => (Reason::NotReady, Some(Refusal::NotReady)),
            _ if from_gateway => return Self::refused(Refusal::NotReady),
            Unresolved::Model(_) => (Reason::ModelNotFound, None),
            Unresolved::Version { .. } => (Reason::VersionNotFound, None),
        };
        Self { error: OipError::new(reason, unresolved.to_string()), refusal }
    }

    /// A request that was started, perhaps, and is not done by its deadline.
    #[must_use]
    pub fn late() -> Self {
        OipError::new(Reason::Deadline, "the deadline passed before the model was done").into()
    }
}

impl From<OipError> for Rejection {
    fn from(error: OipError) -> Self {
        Self { error, refusal: None }
    }
}
