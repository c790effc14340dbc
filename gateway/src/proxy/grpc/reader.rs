//! Reads a gRPC body from a client, message by message or as far as somebody needs.
//!
//! Up to 64 KiB go through pingora's retry buffer, so that pingora replays them by itself and knows that there is a body;
//! what is read ahead beyond that goes around it, or the buffer would overrun and give everything up
//! (docs/adr/0001-body-replay.md). Called by [`super::first`] for calls that are passed on and by [`super::own`] for
//! those that are answered here.

use std::future::poll_fn;

use bytes::{Buf as _, Bytes, BytesMut};
use pingora::{Error, ErrorType, protocols::http::ServerSession, proxy::Session};
use weir_protocol::OipError;

use super::frame::{PREFIX_BYTES, Prefix};
use crate::proxy::{body::RETRY_BUFFER_BYTES, local::Stop};

/// Most bytes that one read of an HTTP/2 body yields: the default maximum frame size, which is the one that the
/// gateway tells its clients.
const READ_BYTES: usize = 16 * 1024;

/// What was read of a body and not taken yet.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Reader {
    /// Everything read and not taken, prefixes included.
    pub(in crate::proxy) bytes: BytesMut,
    /// How much of it pingora's retry buffer has as well.
    pub(in crate::proxy) buffered: usize,
}

impl Reader {
    /// The prefix of the message that begins the bytes; `None` when it is not complete.
    pub(in crate::proxy) fn prefix(&self) -> Option<Prefix> {
        Prefix::of(&self.bytes)
    }

    /// Reads once; false at the body's end.
    pub(in crate::proxy) async fn more(&mut self, session: &mut Session) -> Result<bool, Stop> {
        let fits = self.buffered + READ_BYTES <= RETRY_BUFFER_BYTES as usize;
        let chunk = if fits { session.read_request_body().await } else { around(session).await };
        match chunk.map_err(|error| Stop::Gone(error.into_down()))? {
            Some(chunk) => {
                self.bytes.extend_from_slice(&chunk);
                if fits {
                    self.buffered += chunk.len();
                }
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Reads on until there is a byte; false when the body ends before.
    pub(in crate::proxy) async fn begun(&mut self, session: &mut Session) -> Result<bool, Stop> {
        // A body may end with an empty piece.
        while self.bytes.is_empty() {
            if !self.more(session).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads on until at least `count` bytes are at hand.
    ///
    /// # Errors
    /// `bad-request` when the body ends before.
    pub(in crate::proxy) async fn fill(&mut self, session: &mut Session, count: usize) -> Result<(), Stop> {
        while self.bytes.len() < count {
            if !self.more(session).await? {
                return Err(OipError::bad_request("the body ends within a message").into());
            }
        }
        Ok(())
    }

    /// Takes the next message with its prefix, for calls that are answered here; `None` at the body's end.
    ///
    /// # Errors
    /// `bad-request` when it has more than `limit` bytes or is cut off.
    pub(in crate::proxy) async fn message(
        &mut self,
        session: &mut Session,
        limit: u64,
    ) -> Result<Option<(Prefix, Bytes)>, Stop> {
        if !self.begun(session).await? {
            return Ok(None);
        }
        self.fill(session, PREFIX_BYTES).await?;
        let Some(prefix) = self.prefix().filter(|prefix| u64::from(prefix.length) <= limit) else {
            return Err(
                OipError::bad_request(format!("a message of this call has at most {limit} bytes")).into()
            );
        };
        self.fill(session, usize::try_from(prefix.total()).unwrap_or(usize::MAX)).await?;
        self.bytes.advance(PREFIX_BYTES);
        Ok(Some((prefix, self.bytes.split_to(prefix.length as usize).freeze())))
    }
}

/// Reads once without filling pingora's retry buffer.
async fn around(session: &mut Session) -> pingora::Result<Option<Bytes>> {
    let ServerSession::H2(h2) = session.as_downstream_mut() else {
        return session.read_request_body().await;
    };
    match poll_fn(|cx| h2.poll_read_body_bytes(cx)).await {
        None => Ok(None),
        Some(Ok(chunk)) => Ok(Some(chunk)),
        Some(Err(error)) => Err(Error::because(ErrorType::ReadError, "while reading ahead", error)),
    }
}
