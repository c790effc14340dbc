//! The gRPC front: the same calls as REST, on the same port, for clients that speak gRPC.
//!
//! `calls` says what each method answers; `messages` reads what a client sends, within the limits that REST bodies
//! have; `answer` writes every answer and status; `tensors` turns messages into requests and back. Framing is done here
//! and not by a library because a limit, a budget or a refusal has to speak before a message is whole. Called by `http`
//! for requests whose content type is gRPC's.

mod answer;
mod calls;
mod coding;
mod health;
mod inbound;
mod inference;
mod messages;
mod reflection;
mod stream;
mod tensors;
mod weight;

use http::{HeaderMap, header::CONTENT_TYPE};

pub(crate) use self::calls::answer;

/// Whether a request is a gRPC call, by its content type: `application/grpc`, with or without `+` and a format.
/// (`application/grpc-web` is another protocol.)
pub(crate) fn is_grpc(request: &HeaderMap) -> bool {
    let kind = request.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let rest = kind.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';', ' ']))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_grpcs_own_content_types_are_grpc() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            let request = [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
            assert_eq!(is_grpc(&request), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
