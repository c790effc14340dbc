//! Compressed messages: which coding a call's messages have, and which one its answers may have.
//!
//! The codings themselves are those of REST bodies.

use http::HeaderMap;
use weir_protocol::{OipError, Reason};

use super::inbound::text;
pub(super) use crate::http::coding::Coding;

/// The header that names the coding of messages.
pub(super) const ENCODING: &str = "grpc-encoding";
/// The header that names the codings which the other side may use.
pub(super) const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// What this side takes.
pub(super) const ACCEPTED: &str = "identity,deflate,gzip";

/// The coding of a call's compressed messages; `None` when it has none.
///
/// # Errors
/// `unsupported-encoding`.
pub(super) fn of_requests(map: &HeaderMap) -> Result<Option<Coding>, OipError> {
    match text(map, ENCODING) {
        None | Some("identity") => Ok(None),
        Some("gzip") => Ok(Some(Coding::Gzip)),
        Some("deflate") => Ok(Some(Coding::Deflate)),
        Some(_) => {
            Err(OipError::new(Reason::UnsupportedEncoding, format!("grpc-encoding: use one of {ACCEPTED}")))
        }
    }
}

/// The coding of a call's answers: that of its requests, unless the client does not take it.
///
/// What a client says that it takes is no wish to have it: gRPC libraries list every coding that they know, and
/// compressing tensors costs more time than a network inside a datacentre gives back. One that compresses its own
/// messages wishes it.
pub(super) fn of_answers(requests: Option<Coding>, map: &HeaderMap) -> Option<Coding> {
    let is_taken = |coding: &Coding| match text(map, ACCEPT_ENCODING) {
        Some(list) => list.split(',').any(|one| one.trim() == coding.name()),
        None => true,
    };
    requests.filter(is_taken)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn codings(
        encoding: Option<&'static str>,
        accept: Option<&'static str>,
    ) -> (Option<Coding>, Option<Coding>) {
        let fields = [(ENCODING, encoding), (ACCEPT_ENCODING, accept)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let map =
            fields.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        let requests = of_requests(&map).unwrap();
        (requests, of_answers(requests, &map))
    }

    #[test]
    fn answers_are_compressed_as_requests_are_where_the_client_takes_that() {
        let (gzip, deflate) = (Some(Coding::Gzip), Some(Coding::Deflate));
        for (encoding, accept, expected) in [
            (None, None, (None, None)),
            (None, Some("gzip, deflate"), (None, None)),
            (Some("identity"), Some("gzip"), (None, None)),
            (Some("gzip"), None, (gzip, gzip)),
            (Some("gzip"), Some("identity, deflate, gzip"), (gzip, gzip)),
            (Some("deflate"), Some("deflate"), (deflate, deflate)),
            (Some("gzip"), Some("deflate"), (gzip, None)),
        ] {
            assert_eq!(codings(encoding, accept), expected, "{encoding:?} {accept:?}");
        }
        let unknown = [(ENCODING.parse().unwrap(), HeaderValue::from_static("zstd"))].into_iter().collect();
        assert_eq!(of_requests(&unknown).unwrap_err().reason, Reason::UnsupportedEncoding);
    }
}
