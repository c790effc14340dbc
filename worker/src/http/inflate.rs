//! Inflates a compressed request body within three bounds: its size, the body budget, and its size beside that of the
//! compressed bytes, so that a few bytes cannot fill the memory.
//!
//! A body that may become large is inflated on a thread of its own, so that nobody waits for another's. Called by
//! `inference` with a body that was read whole.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use weir_protocol::{OipError, Reason, Refusal};

use super::{body, budget::Share, coding::Coding};
use crate::infer::{self, Rejection};

/// Bytes inflated between two looks at the bounds.
const STEP_BYTES: usize = 64 << 10;

/// Size up to which a body may be compressed as well as it likes: small tensors of one value are common.
const FREE_BYTES: usize = 1 << 20;

/// What an inflated body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most bytes.
    pub(crate) bytes: usize,
    /// Most bytes for each byte of the compressed body, once there are more than [`FREE_BYTES`].
    pub(crate) factor: u32,
}

/// Inflates a whole body; its bytes are taken from the budget as they come.
///
/// # Errors
/// `bad-request` when the body is not what its coding says; `body-too-large` above the bounds; the refusal `memory` when
/// the budget has no room.
pub(crate) async fn inflate(
    compressed: Bytes,
    coding: Coding,
    bounds: Bounds,
    share: Share,
) -> Result<(Bytes, Share), Rejection> {
    let most = bounds.bytes.min(FREE_BYTES.max(compressed.len().saturating_mul(bounds.factor as usize)));
    infer::offload(most, move || Inflating { coding, bounds, most, share }.run(compressed)).await?
}

/// A body that is being inflated.
struct Inflating {
    coding: Coding,
    bounds: Bounds,
    /// Most bytes that there may be, from the bounds.
    most: usize,
    share: Share,
}

impl Inflating {
    fn run(mut self, compressed: Bytes) -> Result<(Bytes, Share), Rejection> {
        // Most bodies grow at least this much.
        let mut inflated = Vec::with_capacity(compressed.len().min(self.most));
        let mut decoder = Decoder::new(self.coding, compressed);
        loop {
            // One byte above the bound tells that there are more.
            let step = STEP_BYTES.min(self.most - inflated.len() + 1);
            let read = decoder.by_ref().take(step as u64).read_to_end(&mut inflated);
            let read = read.map_err(|error| self.broken(&error.to_string()))?;
            if inflated.len() > self.most {
                return Err(self.too_large().into());
            }
            if !self.share.grow(read) {
                return Err(Rejection::refused(Refusal::Memory));
            }
            if read == 0 {
                break;
            }
        }
        match decoder.left() {
            0 => Ok((inflated.into(), self.share)),
            left => Err(self.broken(&format!("{left} bytes follow its end")).into()),
        }
    }

    fn broken(&self, why: &str) -> OipError {
        let stream = match self.coding {
            Coding::Gzip => "gzip stream",
            // Some take the name for a bare deflate stream.
            Coding::Deflate => "deflate stream with zlib's header",
        };
        OipError::bad_request(format!("the body is no whole {stream}: {why}"))
    }

    fn too_large(&self) -> OipError {
        if self.most == self.bounds.bytes {
            return body::too_large(self.most);
        }
        let factor = self.bounds.factor;
        let message = format!(
            "the body inflates to more than {factor} times its size (limits.inflate_factor of the worker): send it plain"
        );
        OipError::new(Reason::BodyTooLarge, message)
    }
}

enum Decoder {
    Gzip(MultiGzDecoder<Input>),
    Deflate(ZlibDecoder<Input>),
}

impl Decoder {
    fn new(coding: Coding, compressed: Bytes) -> Self {
        match coding {
            // Several members one after the other are one body: RFC 1952.
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(Input(compressed))),
            Coding::Deflate => Self::Deflate(ZlibDecoder::new(Input(compressed))),
        }
    }

    /// Compressed bytes that were not looked at.
    fn left(&self) -> usize {
        match self {
            Self::Gzip(decoder) => decoder.get_ref().0.len(),
            Self::Deflate(decoder) => decoder.get_ref().0.len(),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Deflate(decoder) => decoder.read(buffer),
        }
    }
}

/// The compressed bytes, taken from the front.
struct Input(Bytes);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.as_ref().read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.0)
    }

    fn consume(&mut self, bytes: usize) {
        drop(self.0.split_to(bytes.min(self.0.len())));
    }
}
