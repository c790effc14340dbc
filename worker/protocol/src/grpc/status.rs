//! gRPC statuses of errors: the one total match beside [`Reason::status`].
//!
//! Worker and gateway answer with it, so that a client sees the same status whichever of the two refuses.

use crate::Reason;

/// The gRPC statuses that Weir answers with (grpc.io, "Status codes and their use in gRPC").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
#[repr(u8)]
pub enum GrpcCode {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl GrpcCode {
    /// The value of `grpc-status`.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The status of an error.
///
/// A full queue and a shed request are UNAVAILABLE, which clients retry; RESOURCE_EXHAUSTED says that the caller's own
/// message or header is too large.
#[must_use]
pub fn code_of(reason: Reason) -> GrpcCode {
    match reason {
        Reason::BadRequest | Reason::AmbiguousFraming => GrpcCode::InvalidArgument,
        Reason::Forbidden => GrpcCode::PermissionDenied,
        Reason::ModelNotFound | Reason::VersionNotFound => GrpcCode::NotFound,
        Reason::BodyTooSlow | Reason::Deadline | Reason::WorkerTimeout => GrpcCode::DeadlineExceeded,
        Reason::BodyTooLarge | Reason::HeadersTooLarge => GrpcCode::ResourceExhausted,
        Reason::PathNotFound
        | Reason::MethodNotAllowed
        | Reason::UnsupportedEncoding
        | Reason::Unsupported => GrpcCode::Unimplemented,
        Reason::Internal | Reason::ModelFailed => GrpcCode::Internal,
        Reason::WorkerFailed
        | Reason::NotReady
        | Reason::QueueFull
        | Reason::Shed
        | Reason::Draining
        | Reason::Memory
        | Reason::Overloaded
        | Reason::Starting => GrpcCode::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_moment_may_cure_is_unavailable_and_nothing_else_of_ours_but_a_broken_worker() {
        for &reason in Reason::ALL {
            let unavailable = code_of(reason) == GrpcCode::Unavailable;
            assert_eq!(unavailable, reason.retry_later() || reason == Reason::WorkerFailed, "{reason}");
        }
    }

    #[test]
    fn the_document_has_a_row_for_each_reason() {
        let document = include_str!("../../../../docs/PROTOCOL.md");
        for &reason in Reason::ALL {
            let code: String = format!("{:?}", code_of(reason))
                .char_indices()
                .flat_map(|(at, c)| {
                    let gap = (at > 0 && c.is_uppercase()).then_some('_');
                    gap.into_iter().chain([c.to_ascii_uppercase()])
                })
                .collect();
            let row = format!("| `{reason}` | {} | {code} | ", reason.status());
            assert!(document.contains(&row), "docs/PROTOCOL.md lacks: {row}");
        }
    }

    #[test]
    fn statuses_agree_with_http() {
        for &reason in Reason::ALL {
            let expected = match reason.status() {
                400 => GrpcCode::InvalidArgument,
                403 => GrpcCode::PermissionDenied,
                408 | 504 => GrpcCode::DeadlineExceeded,
                413 | 431 => GrpcCode::ResourceExhausted,
                500 => GrpcCode::Internal,
                502 | 503 => GrpcCode::Unavailable,
                404 if reason != Reason::PathNotFound => GrpcCode::NotFound,
                _ => GrpcCode::Unimplemented,
            };
            assert_eq!(code_of(reason), expected, "{reason}");
        }
    }
}
