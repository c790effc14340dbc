//! Compressed messages: read far enough to find names, never further than a bound.
//!
//! The worker inflates a message in full; the gateway passes it on as it came. Called by [`super::first`], and by
//! [`super::own`] for the small messages of calls that the gateway answers.

use std::io::{ErrorKind, Read};

use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderMap;
use weir_protocol::{OipError, Reason};

/// Name of the header.
pub(in crate::proxy) const HEADER: &str = "grpc-encoding";
/// The encodings that are understood, as `grpc-accept-encoding` tells them.
pub(in crate::proxy) const ACCEPTED: &str = "identity,gzip,deflate";

/// How the compressed messages of a call are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Encoding {
    /// `gzip`
    Gzip,
    /// `deflate`, which is zlib's form.
    Deflate,
}

/// The beginning of an inflated message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Inflated {
    /// What the bytes at hand give, up to the limit.
    pub(in crate::proxy) bytes: Vec<u8>,
    /// Whether the limit cut it off.
    pub(in crate::proxy) cut: bool,
}

impl Encoding {
    /// The encoding that a call names; `None` for none.
    ///
    /// # Errors
    /// `unsupported-encoding`
    pub(in crate::proxy) fn of(fields: &HeaderMap) -> Result<Option<Self>, OipError> {
        match fields.get(HEADER).map(http::HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(None),
            Some(b"gzip") => Ok(Some(Self::Gzip)),
            Some(b"deflate") => Ok(Some(Self::Deflate)),
            Some(_) => {
                let message = format!("{HEADER}: use one of {ACCEPTED}");
                Err(OipError::new(Reason::UnsupportedEncoding, message))
            }
        }
    }

    /// Inflates at most `limit` bytes of a message, or as many as the part of it at hand gives.
    ///
    /// # Errors
    /// `bad-request` when it is not compressed so.
    pub(in crate::proxy) fn inflate(self, compressed: &[u8], limit: u64) -> Result<Inflated, OipError> {
        match self {
            Self::Gzip => read(GzDecoder::new(compressed), limit),
            Self::Deflate => read(ZlibDecoder::new(compressed), limit),
        }
    }
}

fn read(decoder: impl Read, limit: u64) -> Result<Inflated, OipError> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells a message of that size from a longer one.
    match decoder.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > limit => {
            bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(Inflated { bytes, cut: true })
        }
        Ok(_) => Ok(Inflated { bytes, cut: false }),
        // A part of a message is what was asked for.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Inflated { bytes, cut: false }),
        Err(_) => Err(OipError::bad_request("a message is not compressed as grpc-encoding says")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn compressed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn a_message_inflates_up_to_the_limit_and_a_part_as_far_as_it_goes() {
        let text: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let packed = compressed(encoding, &text);
            let all = encoding.inflate(&packed, 100_000).unwrap();
            assert_eq!(all, Inflated { bytes: text.clone(), cut: false });
            let some = encoding.inflate(&packed, 99_999).unwrap();
            assert_eq!(some, Inflated { bytes: text[..99_999].to_vec(), cut: true });
            let part = encoding.inflate(&packed[..packed.len() / 2], 100_000).unwrap();
            assert!(!part.cut && text.starts_with(&part.bytes), "{encoding:?}");
            assert!(part.bytes.len() > 5_000, "{encoding:?}: {} of {}", part.bytes.len(), packed.len());
            assert_eq!(encoding.inflate(b"plain text", 10).unwrap_err().reason, Reason::BadRequest);
        }
    }

    #[test]
    fn a_few_bytes_that_inflate_to_gigabytes_cost_no_more_than_the_limit() {
        let bomb = compressed(Encoding::Gzip, &vec![0; 64 << 20]);
        assert_eq!(Encoding::Gzip.inflate(&bomb, 1_000).unwrap().bytes.len(), 1_000);
    }

    #[test]
    fn encodings_by_name() {
        let of = |name: &str| {
            let fields = [(HEADER, name)].map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()));
            Encoding::of(&fields.into_iter().collect()).map_err(|e| e.reason)
        };
        assert_eq!(of("gzip"), Ok(Some(Encoding::Gzip)));
        assert_eq!(of("deflate"), Ok(Some(Encoding::Deflate)));
        assert_eq!((of("identity"), Encoding::of(&HeaderMap::new())), (Ok(None), Ok(None)));
        assert_eq!(of("zstd"), Err(Reason::UnsupportedEncoding));
    }
}
