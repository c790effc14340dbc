//! gRPC's message framing: one byte for compression, four for the length, then the message.
//!
//! Reads and writes the five bytes, and follows the boundaries of messages in a body that passes through in pieces.
//! Knows nothing of what is in a message. Source: grpc.io, "gRPC over HTTP2", length-prefixed message.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

/// Length of the prefix.
pub(in crate::proxy) const PREFIX_BYTES: usize = 5;

/// What the five bytes before a message say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Prefix {
    /// Whether the message is compressed as `grpc-encoding` says.
    pub(in crate::proxy) compressed: bool,
    /// Length of the message, without the prefix.
    pub(in crate::proxy) length: u32,
}

impl Prefix {
    /// The prefix at the beginning of `bytes`; `None` when they are fewer than five.
    pub(in crate::proxy) fn of(bytes: &[u8]) -> Option<Self> {
        let (flag, length) = bytes.first_chunk::<PREFIX_BYTES>()?.split_first()?;
        Some(Self { compressed: *flag != 0, length: u32::from_be_bytes(length.try_into().ok()?) })
    }

    /// Length of the message with its prefix.
    pub(in crate::proxy) fn total(self) -> u64 {
        PREFIX_BYTES as u64 + u64::from(self.length)
    }

    /// Appends the prefix.
    pub(in crate::proxy) fn put(self, to: &mut BytesMut) {
        to.put_u8(u8::from(self.compressed));
        to.put_u32(self.length);
    }
}

/// A message of ours, framed and uncompressed.
pub(in crate::proxy) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    Prefix { compressed: false, length: u32::try_from(length).unwrap_or(u32::MAX) }.put(&mut bytes);
    // Fails for want of room only, and a `BytesMut` grows.
    _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// Follows the messages of a body that passes through in pieces.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Meter {
    /// The bytes of a prefix that is not complete yet.
    prefix: Vec<u8>,
    /// Bytes of the present message still to come.
    left: u64,
}

impl Meter {
    /// Takes the next piece; answers whether every message that begins in it has at most `limit` bytes.
    pub(in crate::proxy) fn within(&mut self, piece: Option<&Bytes>, limit: u64) -> bool {
        let mut piece = piece.map_or(&[][..], |piece| piece);
        while !piece.is_empty() {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            self.left -= skipped as u64;
            piece = piece.get(skipped..).unwrap_or_default();
            let wanted = PREFIX_BYTES - self.prefix.len();
            let (prefix, rest) = piece.split_at(wanted.min(piece.len()));
            self.prefix.extend_from_slice(prefix);
            piece = rest;
            if let Some(prefix) = Prefix::of(&self.prefix) {
                if u64::from(prefix.length) > limit {
                    return false;
                }
                self.left = u64::from(prefix.length);
                self.prefix.clear();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        Prefix { compressed: false, length }.put(&mut bytes);
        bytes.extend(std::iter::repeat_n(9, length as usize));
        bytes.to_vec()
    }

    #[test]
    fn a_prefix_reads_back_as_it_was_written() {
        let mut bytes = BytesMut::new();
        let prefix = Prefix { compressed: true, length: 70_000 };
        prefix.put(&mut bytes);
        assert_eq!((bytes.len(), Prefix::of(&bytes), prefix.total()), (5, Some(prefix), 70_005));
        assert_eq!(Prefix::of(&bytes[..4]), None);
    }

    #[test]
    fn the_size_of_every_message_is_seen_however_the_body_is_cut() {
        let body = [message(3), message(0), message(300), message(7)].concat();
        for piece in 1..=body.len() {
            let passes = |limit| {
                let mut meter = Meter::default();
                body.chunks(piece).all(|piece| meter.within(Some(&piece.to_vec().into()), limit))
            };
            assert!(passes(300), "pieces of {piece}");
            assert!(!passes(299), "pieces of {piece}");
        }
    }
}
