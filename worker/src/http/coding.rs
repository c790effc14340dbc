//! Content codings of inference bodies: which one a request has, which one its answer may have, and writing the latter.
//!
//! Only gzip and deflate (in its zlib wrapper), as the protocol says, and only for inferences. Reading is `inflate`'s.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use weir_protocol::{OipError, Reason};

/// The codings that may be used, for a client that used another one.
pub(super) const OFFERED: HeaderValue = HeaderValue::from_static("gzip, deflate");

/// A way to compress a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, that is with the zlib wrapper.
    Deflate,
}

impl Coding {
    /// The name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        // RFC 9110 wants the name with x- understood as well.
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is(&["gzip", "x-gzip"]) {
            Some(Self::Gzip)
        } else if is(&["deflate"]) {
            Some(Self::Deflate)
        } else {
            None
        }
    }

    /// The coding of a request's body; `None` for a plain one.
    ///
    /// # Errors
    /// `unsupported-encoding`: another coding, or more than one.
    pub(super) fn of_request(map: &HeaderMap) -> Result<Option<Self>, OipError> {
        let mut codings = list(map, &CONTENT_ENCODING).filter(|name| !name.eq_ignore_ascii_case("identity"));
        let refused = |message: String| Err(OipError::new(Reason::UnsupportedEncoding, message));
        match (codings.next(), codings.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => {
                refused("the body is compressed more than once: send it compressed once, or plain".to_owned())
            }
            (Some(name), None) => match Self::from_name(name) {
                Some(coding) => Ok(Some(coding)),
                None => {
                    let name: String = name.chars().take(32).flat_map(char::escape_debug).collect();
                    refused(format!("content coding '{name}' is not supported: use gzip or deflate, or none"))
                }
            },
        }
    }

    /// The coding that a client explicitly wishes for its answer: the only one that it accepts.
    ///
    /// Lists such as `gzip, deflate, br` are no wish: HTTP libraries send them by themselves, also where nobody
    /// decompresses, and compressing tensors costs more time than a network inside a datacentre gives back.
    pub(super) fn wished(map: &HeaderMap) -> Option<Self> {
        let mut codings = list(map, &ACCEPT_ENCODING);
        let (only, None) = (codings.next()?, codings.next()) else { return None };
        let (name, parameters) = only.split_once(';').unwrap_or((only, ""));
        let weight = parameters.trim().strip_prefix("q=").map(str::trim);
        let refused = weight.is_some_and(|weight| weight.parse() == Ok(0.0));
        Self::from_name(name.trim()).filter(|_| !refused)
    }

    /// Compresses a whole body, for speed rather than size: numbers compress badly at any effort.
    ///
    /// # Errors
    /// `internal`; writing to memory does not fail.
    pub(crate) fn compress(self, body: &[u8]) -> Result<Bytes, OipError> {
        let level = Compression::fast();
        let compressed = match self {
            Self::Gzip => written(GzEncoder::new(Vec::new(), level), body, GzEncoder::finish),
            Self::Deflate => written(ZlibEncoder::new(Vec::new(), level), body, ZlibEncoder::finish),
        };
        compressed.map(Bytes::from).map_err(|error| {
            tracing::error!(%error, "cannot compress an answer");
            OipError::new(Reason::Internal, "internal error; see the worker's log")
        })
    }
}

fn written<W: Write>(
    mut encoder: W,
    body: &[u8],
    finish: fn(W) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    encoder.write_all(body)?;
    finish(encoder)
}

/// The elements of a header that is a list, over all its fields.
fn list<'a>(map: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // What is not text is no coding that anybody knows, and must not pass as none.
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or("?");
    map.get_all(name)
        .iter()
        .map(text)
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_body_is_plain_or_compressed_once_in_a_known_way() {
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&[" Deflate "], Some(Coding::Deflate)),
            (&["identity, gzip"], Some(Coding::Gzip)),
            (&["identity", "deflate", ""], Some(Coding::Deflate)),
        ] {
            assert_eq!(Coding::of_request(&map(CONTENT_ENCODING, values)), Ok(coding), "{values:?}");
        }
        for (values, words) in [
            (&["br"][..], "'br'"),
            (&["gzip;q=1"], "'gzip;q=1'"),
            (&["gzip, gzip"], "more than once"),
            (&["deflate", "gzip"], "more than once"),
            (&["gzip, br"], "more than once"),
        ] {
            let error = Coding::of_request(&map(CONTENT_ENCODING, values)).unwrap_err();
            assert_eq!(error.reason, Reason::UnsupportedEncoding);
            assert!(error.message.contains(words), "{values:?}: {error}");
        }
        let opaque = [(CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap())];
        assert!(Coding::of_request(&opaque.into_iter().collect()).is_err());
    }

    #[test]
    fn only_a_single_accepted_coding_is_a_wish() {
        for (values, coding) in [
            (&[][..], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["deflate"], Some(Coding::Deflate)),
            (&["GZIP; q=0.5"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip; q=0.000"], None),
            (&["identity"], None),
            (&["*"], None),
            (&["br"], None),
            (&["gzip, deflate"], None),
            (&["gzip", "br"], None),
            (&["gzip, identity;q=0"], None),
        ] {
            assert_eq!(Coding::wished(&map(ACCEPT_ENCODING, values)), coding, "{values:?}");
        }
    }
}
