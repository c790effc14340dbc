//! A request that gets no result: the error, and whether that is a refusal.
//!
//! A refusal says that the request was not started, so that a gateway may safely try elsewhere. Made all over
//! `infer` and the fronts; turned into a response in one place of each, `http::respond` and `grpc::answer`.

use std::time::Duration;

use weir_protocol::{OipError, Reason, Refusal};

use crate::model::store::Unresolved;

/// Least and longest that a client is told to wait before it tries again, in seconds: the header knows no fractions, and
/// what is further away than an hour nobody can tell.
const RETRY_AFTER_SECONDS: (u64, u64) = (1, 60 * 60);

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejection {
    /// What the client is told.
    pub error: OipError,
    /// Set when the request was not started.
    pub refusal: Option<Refusal>,
    /// When the same request may do better, from now; of no meaning unless [`weir_protocol::Reason::retry_later`].
    wait: Duration,
}

impl Rejection {
    /// A request that was not started.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::Bounced => "the worker would take longer than the gateway allows",
            Refusal::QueueFull => "the queue is full: try again later",
            Refusal::Deadline => "it could not be done by its deadline: try again later, or allow more time",
            Refusal::Memory => "there is not enough memory",
            Refusal::Draining => "the worker is shutting down",
            Refusal::NotReady => "the model is not ready",
        };
        Self { refusal: Some(refusal), ..OipError::new(refusal.reason(), message).into() }
    }

    /// A request that was not started and whose time is over.
    #[must_use]
    pub fn expired() -> Self {
        let error = OipError::new(Reason::Deadline, "the deadline passed before the model could start");
        Self { refusal: Some(Refusal::Deadline), ..error.into() }
    }

    /// The same, with when it is worth another try, from now.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// What `Retry-After` says, in seconds; `None` where another try would do no better.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let (least, most) = RETRY_AFTER_SECONDS;
        let seconds = self.wait.as_secs().saturating_add(u64::from(self.wait.subsec_nanos() > 0));
        self.error.reason.retry_later().then_some(seconds.clamp(least, most))
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
        Self { refusal, ..OipError::new(reason, unresolved.to_string()).into() }
    }

    /// A request that was started, perhaps, and is not done by its deadline.
    #[must_use]
    pub fn late() -> Self {
        OipError::new(Reason::Deadline, "the deadline passed before the model was done").into()
    }
}

impl From<OipError> for Rejection {
    fn from(error: OipError) -> Self {
        Self { error, refusal: None, wait: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_want_of_time_may_try_again_and_what_is_over_may_not() {
        let (shed, over) = (Rejection::refused(Refusal::Deadline), Rejection::expired());
        assert_eq!((shed.error.reason, over.error.reason), (Reason::Shed, Reason::Deadline));
        assert_eq!((shed.refusal, over.refusal), (Some(Refusal::Deadline), Some(Refusal::Deadline)));
        assert_eq!((shed.retry_after(), over.retry_after()), (Some(1), None));
        assert_eq!(Rejection::late().refusal, None, "it may have been started");
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds_rounded_up() {
        let told = |wait| Rejection::refused(Refusal::QueueFull).after(wait).retry_after();
        let waits = [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(2001), Duration::MAX];
        assert_eq!(waits.map(told), [Some(1), Some(1), Some(3), Some(3600)]);
    }
}
