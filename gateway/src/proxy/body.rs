//! Reads a request's body before a worker is chosen, and hands it to every attempt.
//!
//! A body that is held can be sent again when an attempt fails, and a client that sends slowly occupies no worker.
//! pingora replays only its own buffer of 64 KiB, and it never sends a body that was read to its end while that
//! buffer was empty or overrun: the request would hang. So the last part of every body that is held is read
//! through the buffer, and [`Body::splice`] puts our copy in front of it (docs/adr/0001-body-replay.md).

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use pingora::{Error, ErrorType, proxy::Session};
use tokio::time::timeout;

/// Size of pingora's retry buffer in bytes (`BODY_BUF_LIMIT` in pingora-core 0.9.1).
pub(super) const RETRY_BUFFER_BYTES: u64 = 64 * 1024;
/// Most bytes that one read of an HTTP/2 body yields: the default maximum frame size.
const H2_READ_BYTES: u64 = 16 * 1024;

/// Bytes of bodies held by all requests together.
#[derive(Debug, Clone, Default)]
pub(super) struct HoldBudget(Arc<AtomicU64>);

impl HoldBudget {
    /// Takes a share, given back when dropped; `None` when it would exceed `limit`.
    pub(super) fn take(&self, bytes: u64, limit: u64) -> Option<HoldShare> {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= limit);
        // Relaxed: the counter guards no other memory.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(HoldShare { budget: self.clone(), bytes })
    }
}

/// A request's share of the budget.
#[derive(Debug)]
pub(super) struct HoldShare {
    budget: HoldBudget,
    bytes: u64,
}

impl Drop for HoldShare {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request's body as the proxy knows it.
#[derive(Debug)]
pub(super) enum Body {
    /// Passes through. What was read so far can be replayed while it fits pingora's buffer.
    Streaming,
    /// Read to its end, all of it in pingora's buffer, which replays it by itself.
    Buffered,
    /// Begins with bytes of which pingora's buffer has the first or last part only; what follows them passes through.
    Held(Held),
    /// Was held, and given to the worker that has begun its answer: nobody will ask for it again.
    Spent,
}

/// The beginning of a body, or all of it, as every attempt is given it.
#[derive(Debug)]
pub(super) struct Held {
    opening: Opening,
    /// What this attempt is given instead, when its worker knows the model by another name.
    instead: Option<Bytes>,
    /// Whether this attempt was given it.
    given: bool,
    /// Its share of the budget.
    _share: Option<HoldShare>,
}

/// Bytes that were read before a worker was chosen.
#[derive(Debug)]
pub(super) struct Opening {
    /// All of them.
    pub(super) bytes: Bytes,
    /// How many of them pingora's buffer has as well: they come first in what it hands over.
    pub(super) buffered: usize,
}

/// Why a body could not be read ahead.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It came too slowly.
    TooSlow,
    /// The client is gone or broke the protocol.
    Gone(Box<Error>),
}

impl From<Box<Error>> for BodyError {
    fn from(error: Box<Error>) -> Self {
        if matches!(error.etype(), ErrorType::ReadTimedout) {
            Self::TooSlow
        } else {
            Self::Gone(error.into_down())
        }
    }
}

/// Bounds on reading ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct HoldLimits {
    /// Largest body to hold, in bytes.
    pub(super) replay: u64,
    /// Held bytes of all requests together.
    pub(super) total: u64,
    /// For the whole of a body that is read ahead.
    pub(super) within: Duration,
    /// How much is read at least, as far as it can be, of a body that is not held, in bytes.
    pub(super) searched: u64,
}

impl Body {
    /// Reads the body ahead as far as the limits allow.
    ///
    /// With a length up to 64 KiB: all of it, through pingora's buffer. Up to `replay`: all of it, the last
    /// 64 KiB at most through pingora's buffer. Longer, or without a length: what is sure to fit that buffer.
    pub(super) async fn read_ahead(
        session: &mut Session,
        length: Option<u64>,
        budget: &HoldBudget,
        limits: &HoldLimits,
    ) -> Result<Self, BodyError> {
        if session.is_body_empty() {
            return Ok(Self::Buffered);
        }
        let reading = async {
            match length {
                Some(length) if length <= RETRY_BUFFER_BYTES.min(limits.replay) => {
                    session.enable_retry_buffering();
                    read(session, length, &mut None).await?;
                    Ok(Self::Buffered)
                }
                Some(length) if length <= limits.replay => match budget.take(length, limits.total) {
                    Some(share) => hold(session, length, share).await,
                    None => begin(session, length, limits.searched).await,
                },
                Some(length) => begin(session, length, limits.searched).await,
                None => peek(session).await,
            }
        };
        in_time(limits.within, reading).await?
    }

    /// A body that begins with these bytes.
    pub(super) fn held(opening: Opening, share: Option<HoldShare>) -> Self {
        Self::Held(Held { opening, instead: None, given: false, _share: share })
    }

    /// As much of its beginning as was read ahead.
    pub(super) fn opening(&self, session: &Session) -> Bytes {
        match self {
            Self::Held(held) => held.opening.bytes.clone(),
            Self::Streaming | Self::Buffered | Self::Spent => {
                session.as_downstream().get_retry_buffer().unwrap_or_default()
            }
        }
    }

    /// The opening, when it was read ahead by us and not by pingora alone.
    pub(super) fn held_opening(&self) -> &[u8] {
        match self {
            Self::Held(held) => &held.opening.bytes,
            Self::Streaming | Self::Buffered | Self::Spent => &[],
        }
    }

    /// Whether another attempt can be given the same bytes. What is held can; what passed through after it can while
    /// pingora's buffer has it.
    pub(super) fn replayable(&self, session: &Session) -> bool {
        match self {
            Self::Buffered => true,
            Self::Streaming | Self::Held(_) => !session.as_downstream().retry_buffer_truncated(),
            Self::Spent => false,
        }
    }

    /// The worker has begun its answer, so no other will be tried: what was held for that is given back. A stream may
    /// go on for hours.
    pub(super) fn let_go(&mut self) {
        if matches!(self, Self::Held(held) if held.given) {
            *self = Self::Spent;
        }
    }

    /// A new attempt begins: it is given the body from its start, or what stands `instead` of the opening.
    pub(super) fn rewind(&mut self, instead: Option<Bytes>) {
        if let Self::Held(held) = self {
            held.given = false;
            held.instead = instead;
        }
    }

    /// Turns what pingora is about to send into what the worker must get: on an attempt's first call, what comes from
    /// pingora's buffer of the opening is replaced by all of it.
    pub(super) fn splice(&mut self, chunk: &mut Option<Bytes>) {
        let Self::Held(held) = self else { return };
        if held.given {
            return;
        }
        held.given = true;
        let opening = held.instead.as_ref().unwrap_or(&held.opening.bytes);
        let after = chunk.as_ref().and_then(|chunk| chunk.get(held.opening.buffered..)).unwrap_or_default();
        *chunk = Some(if after.is_empty() { opening.clone() } else { [opening, after].concat().into() });
    }
}

/// Runs what reads from a client within a time limit. A small body came with its header as a rule: it needs no timer.
pub(super) async fn in_time<F: Future>(within: Duration, reading: F) -> Result<F::Output, BodyError> {
    let mut reading = pin!(reading);
    match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        Poll::Ready(read) => Ok(read),
        Poll::Pending => timeout(within, reading).await.map_err(|_| BodyError::TooSlow),
    }
}

/// Reads exactly `count` bytes, appending them to `copy` if there is one.
async fn read(session: &mut Session, count: u64, copy: &mut Option<BytesMut>) -> Result<(), Box<Error>> {
    let mut left = count;
    while left > 0 {
        let Some(chunk) = session.read_request_body().await? else {
            return Error::e_explain(ErrorType::ConnectionClosed, "body ended before its length")
                .map_err(|e: Box<Error>| e.into_down());
        };
        left = left.saturating_sub(chunk.len() as u64);
        if let Some(copy) = copy {
            copy.extend_from_slice(&chunk);
        }
    }
    Ok(())
}

/// Reads the beginning of a body that will pass through: at least `wanted` bytes if that leaves some to read, which is
/// what tells pingora that there is a body. One that fits pingora's buffer is read there, all of it.
async fn begin(session: &mut Session, length: u64, wanted: u64) -> Result<Body, BodyError> {
    if wanted == 0 {
        return Ok(Body::Streaming);
    }
    if length <= RETRY_BUFFER_BYTES {
        session.enable_retry_buffering();
        read(session, length, &mut None).await?;
        return Ok(Body::Buffered);
    }
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < wanted && length.saturating_sub(bytes.len() as u64) > RETRY_BUFFER_BYTES {
        let Some(chunk) = session.read_request_body().await? else {
            return Err(BodyError::Gone(Error::new_down(ErrorType::ConnectionClosed)));
        };
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body::held(Opening { bytes: bytes.freeze(), buffered: 0 }, None))
}

/// Holds a body of known length above 64 KiB: unbuffered while more than 64 KiB remain (one read yields 64 KiB at
/// most, so at least one byte is left for the buffer), buffered for the rest.
async fn hold(session: &mut Session, length: u64, share: HoldShare) -> Result<Body, BodyError> {
    let mut copy = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    while length.saturating_sub(copy.len() as u64) > RETRY_BUFFER_BYTES {
        let Some(chunk) = session.read_request_body().await? else {
            return Err(BodyError::Gone(Error::new_down(ErrorType::ConnectionClosed)));
        };
        copy.extend_from_slice(&chunk);
    }
    session.enable_retry_buffering();
    let rest = length.saturating_sub(copy.len() as u64);
    let mut copy = Some(copy);
    read(session, rest, &mut copy).await?;
    let buffered = usize::try_from(rest).unwrap_or(usize::MAX);
    Ok(Body::held(Opening { bytes: copy.unwrap_or_default().freeze(), buffered }, Some(share)))
}

/// Reads what surely fits pingora's buffer of a body without a length: a small one is then complete before a
/// worker is chosen.
async fn peek(session: &mut Session) -> Result<Body, BodyError> {
    session.enable_retry_buffering();
    let one_read = if session.as_downstream().is_http2() { H2_READ_BYTES } else { RETRY_BUFFER_BYTES };
    let mut read = 0_u64;
    while read + one_read <= RETRY_BUFFER_BYTES && !session.is_body_done() {
        match session.read_request_body().await? {
            Some(chunk) => read += chunk.len() as u64,
            None => break,
        }
    }
    Ok(Body::Streaming)
}

#[cfg(test)]
mod tests;
