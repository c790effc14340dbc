//! What a foreign worker is sent when it knows the model by another name than the client used.
//!
//! Weir's workers are told in `weir-route`; a foreign one reads the message alone. A field that stands last counts in
//! protobuf, so the names it knows are appended to the message that is held, and its length corrected. Called by
//! [`crate::proxy::peer`] for each attempt.

use bytes::{BufMut as _, Bytes, BytesMut};
use weir_protocol::Version;

use super::frame::{PREFIX_BYTES, Prefix};
use crate::proxy::names::{Asked, Seen};

/// The names that a foreign worker must find in a message, and those that are there.
#[derive(Debug)]
pub(in crate::proxy) struct Rename<'a> {
    model: &'a str,
    version: String,
    seen: &'a Seen,
}

impl<'a> Rename<'a> {
    /// The change that a worker needs, `versioned` when it has version numbers; `None` when it understands the client's
    /// own words.
    pub(in crate::proxy) fn needed(asked: &'a Asked, versioned: bool) -> Option<Self> {
        let seen = asked.seen.as_ref()?;
        let named = versioned && (asked.version_named || !seen.version.is_empty());
        let version = if named { asked.version.to_string() } else { String::new() };
        let same = seen.model == asked.model.as_str() && same_version(&seen.version, &version);
        (!same).then_some(Self { model: asked.model.as_str(), version, seen })
    }

    /// The opening with the first message's names changed; `None` when that message is not held whole or compressed.
    pub(in crate::proxy) fn apply(&self, opening: &[u8]) -> Option<Bytes> {
        let prefix = Prefix::of(opening).filter(|prefix| !prefix.compressed)?;
        let (message, after) = opening.get(PREFIX_BYTES..)?.split_at_checked(prefix.length as usize)?;
        let mut names = BytesMut::new();
        put_text(&mut names, 1, self.model);
        if self.seen.version != self.version {
            put_text(&mut names, 2, &self.version);
        }
        let length = prefix.length.checked_add(u32::try_from(names.len()).ok()?)?;
        let mut renamed = BytesMut::with_capacity(opening.len() + names.len());
        Prefix { length, ..prefix }.put(&mut renamed);
        renamed.extend_from_slice(message);
        renamed.extend_from_slice(&names);
        renamed.extend_from_slice(after);
        Some(renamed.freeze())
    }
}

/// Whether a worker takes both for the same: the numbers of versions may be written with zeros in front.
fn same_version(seen: &str, version: &str) -> bool {
    seen == version || seen.parse::<Version>().is_ok_and(|seen| seen.to_string() == version)
}

/// Appends a field of text. Its length is a varint; names have at most 128 bytes.
fn put_text(to: &mut BytesMut, field: u8, text: &str) {
    to.put_u8(field << 3 | 2);
    prost::encoding::encode_varint(text.len() as u64, to);
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message as _;
    use weir_protocol::grpc::{GrpcCall, ModelInferRequest};
    use weir_routing::Policy;

    use super::*;
    use crate::proxy::{grpc::frame::framed, names::Call};

    fn asked(seen: (&str, &str), model: &str, version_named: bool) -> Asked {
        Asked {
            call: Call::Grpc(GrpcCall::ModelInfer),
            model: model.parse().unwrap(),
            version: Version::new(3).unwrap(),
            version_named,
            policy: Policy::RoundRobin,
            labels: Arc::default(),
            route: None,
            seen: Some(Seen { model: seen.0.to_owned(), version: seen.1.to_owned() }),
        }
    }

    fn request(model: &str, version: &str) -> ModelInferRequest {
        ModelInferRequest {
            model_name: model.to_owned(),
            model_version: version.to_owned(),
            raw_input_contents: vec![vec![5; 300].into()],
            ..Default::default()
        }
    }

    /// What a worker reads of the client's names once they are changed; `None` when nothing is changed.
    fn read(seen: (&str, &str), asked: &Asked, versioned: bool) -> Option<(String, String)> {
        let opening = [&framed(&request(seen.0, seen.1))[..], b"next"].concat();
        let renamed = Rename::needed(asked, versioned)?.apply(&opening).unwrap();
        assert!(renamed.ends_with(b"next"));
        let prefix = Prefix::of(&renamed).unwrap();
        assert_eq!(prefix.total() as usize, renamed.len() - 4);
        let decoded = ModelInferRequest::decode(&renamed[5..renamed.len() - 4]).unwrap();
        assert_eq!(decoded.raw_input_contents, request("", "").raw_input_contents);
        Some((decoded.model_name, decoded.model_version))
    }

    #[test]
    fn a_worker_reads_the_names_that_it_knows() {
        let named = |model: &str, version: &str| Some((model.to_owned(), version.to_owned()));
        let cases = [
            (("alias", ""), asked(("alias", ""), "m", false), true, named("m", "")),
            (("m", "stable"), asked(("m", "stable"), "m", true), true, named("m", "3")),
            (("m", "3"), asked(("m", "3"), "m", true), true, None),
            (("m", ""), asked(("m", ""), "m", false), true, None),
            (("m", ""), asked(("m", ""), "m", true), true, named("m", "3")),
            (("m", "1"), asked(("m", "1"), "m", true), false, named("m", "")),
            (("", ""), asked(("", ""), "m", false), false, named("m", "")),
        ];
        for (seen, asked, versioned, expected) in cases {
            assert_eq!(read(seen, &asked, versioned), expected, "{seen:?} {versioned}");
        }
    }

    #[test]
    fn a_message_that_is_compressed_or_not_held_whole_is_left_alone() {
        let asked = asked(("alias", ""), "m", false);
        let rename = Rename::needed(&asked, true).unwrap();
        let whole = framed(&request("alias", ""));
        assert!(rename.apply(&whole).is_some());
        assert!(rename.apply(&whole[..whole.len() - 1]).is_none());
        assert!(rename.apply(&[&[1], &whole[1..]].concat()).is_none());
    }
}
