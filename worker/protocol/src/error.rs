//! What an OIP error answer says: a status, a machine-readable reason and one sentence.
//!
//! The one total match from reason to HTTP status lives here, so that worker and gateway cannot disagree. Both
//! answer `{"error": "..."}` with the reason in the `weir-reason` header.

use std::fmt;

/// A client's text as an error message may show it: shortened to 64 characters, control characters escaped.
pub fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// An answer that is not a result. The message is for the client: it names what was expected and never carries a
/// path, a stack frame or a library's internals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OipError {
    /// Why, from a closed list; decides the status.
    pub reason: Reason,
    /// One sentence for a person, with what to do instead where that is known.
    pub message: String,
}

impl OipError {
    /// An error of the given reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Shorthand for [`Reason::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// The JSON body of the answer, `{"error": "..."}`.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let quoted = serde_json::Value::from(self.message.as_str());
        format!("{{\"error\":{quoted}}}").into_bytes()
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $status:literal,)*) => {
        /// Why a request was not answered with a result. The variant decides the HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* #[doc = concat!("HTTP ", stringify!($status), ", `weir-reason: ", $name, "`.")] $variant,)*
        }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value of the `weir-reason` header and of metric labels.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status code.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

reasons! {
    /// The request itself is wrong.
    BadRequest = "bad-request" => 400,
    /// Message boundaries can be read in two ways; the connection is closed.
    AmbiguousFraming = "ambiguous-framing" => 400,
    /// The caller may not do this.
    Forbidden = "forbidden" => 403,
    /// No such path.
    PathNotFound = "path-not-found" => 404,
    /// No worker knows the model.
    ModelNotFound = "model-not-found" => 404,
    /// The model is known, this version is not.
    VersionNotFound = "version-not-found" => 404,
    /// The path exists, this verb does not.
    MethodNotAllowed = "method-not-allowed" => 405,
    /// The body came too slowly.
    BodyTooSlow = "body-too-slow" => 408,
    /// The body is larger than the limit.
    BodyTooLarge = "body-too-large" => 413,
    /// The body is in an encoding that is not supported.
    UnsupportedEncoding = "unsupported-encoding" => 415,
    /// The header block is larger than the limit.
    HeadersTooLarge = "headers-too-large" => 431,
    /// Something broke on our side; see the log.
    Internal = "internal" => 500,
    /// The model's forward pass failed.
    ModelFailed = "model-failed" => 500,
    /// Valid protocol that this server does not offer.
    Unsupported = "unsupported" => 501,
    /// The worker broke before it answered and no other could be tried.
    WorkerFailed = "worker-failed" => 502,
    /// The model is known and nothing serves it now.
    NotReady = "not-ready" => 503,
    /// The queue is full.
    QueueFull = "queue-full" => 503,
    /// It was not started: it could not have been done by its deadline.
    Shed = "shed" => 503,
    /// The process is going away.
    Draining = "draining" => 503,
    /// It does not fit in memory.
    Memory = "memory" => 503,
    /// The gateway has too much in hand already.
    Overloaded = "overloaded" => 503,
    /// Workers have not all reported yet, so an unknown name may still turn up.
    Starting = "starting" => 503,
    /// The deadline passed.
    Deadline = "deadline" => 504,
    /// The worker gave no answer within the time limit.
    WorkerTimeout = "worker-timeout" => 504,
}

impl Reason {
    /// Whether the answer carries `Retry-After`: the same request may do well in a moment.
    #[must_use]
    pub fn retry_later(self) -> bool {
        self.status() == 503
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a worker did not start a request (`weir-refused`). A refusal means *not started*: trying elsewhere is
/// always safe, and it counts neither as an error nor against the retry budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The quote exceeds the bound that came with the request.
    Bounced,
    /// The queue is full.
    QueueFull,
    /// It could not be done by its deadline, or the deadline has passed already; the answer's reason tells which
    /// ([`Reason::Shed`], [`Reason::Deadline`]).
    Deadline,
    /// It does not fit in memory.
    Memory,
    /// The worker is going away.
    Draining,
    /// The version is not serving here (any more).
    NotReady,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 6] =
        [Self::Bounced, Self::QueueFull, Self::Deadline, Self::Memory, Self::Draining, Self::NotReady];

    /// The value of the `weir-refused` header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bounced => "bounced",
            Self::QueueFull => "queue-full",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Draining => "draining",
            Self::NotReady => "not-ready",
        }
    }

    /// The refusal of that name; `None` for any other text.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// What a client is told when every worker refused.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Bounced => Reason::Overloaded,
            Self::QueueFull => Reason::QueueFull,
            Self::Deadline => Reason::Shed,
            Self::Memory => Reason::Memory,
            Self::Draining => Reason::Draining,
            Self::NotReady => Reason::NotReady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_json_whatever_the_message_holds() {
        let error = OipError::bad_request("a \"quoted\"\nname\u{1}");
        let parsed: serde_json::Value = serde_json::from_slice(&error.body()).unwrap();
        assert_eq!(parsed["error"], error.message);
    }

    #[test]
    fn names_are_unique_and_refusals_round_trip() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_name(refusal.name()), Some(refusal));
        }
    }
}
