//! Reads request bodies within limits, and gets rid of those that nobody will read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use weir_protocol::{OipError, Reason, Refusal};

use super::budget::Share;
use crate::infer::Rejection;

/// Once that much of a body came, room is made for all that was promised. Before, room grows with what comes, or
/// thousands of streams of a few bytes would take a megabyte each.
const TRUSTED_BYTES: usize = 1 << 20;

/// Room that is made for a promise, as a multiple of what came: with less, a body is copied again each time it outgrows
/// its room.
const TRUST: usize = 8;

/// Longest body of a call that is no inference. Only a load that carries a model's files has more, and those are not
/// taken.
pub(crate) const CALL_BYTES: usize = 1 << 20;

/// An unread body up to this is read and thrown away, which keeps the connection. A larger one costs the connection.
const DISCARD_BYTES: u64 = 64 << 10;

/// Reads a whole body and takes its bytes from the budget as they arrive. One that comes in one piece is not copied.
///
/// # Errors
/// `body-too-large` above `limit`, at once when the length was promised; `body-too-slow` when nothing comes for
/// `silence`; `bad-request` when it breaks off; the refusal `memory` when the budget has no room for what came.
pub(super) async fn read(
    mut body: Incoming,
    limit: usize,
    silence: Duration,
    share: &mut Share,
) -> Result<Bytes, Rejection> {
    let promised = body.size_hint().exact();
    check_promised(promised, limit)?;
    let wanted = promised.and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(data) = piece(&mut body, silence).await? {
        let total = first.as_ref().map_or(0, Bytes::len) + whole.len() + data.len();
        if total > limit {
            return Err(too_large(limit).into());
        }
        if !share.grow(data.len()) {
            return Err(Rejection::refused(Refusal::Memory));
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            earlier => {
                if let Some(earlier) = earlier {
                    append(&mut whole, &earlier, wanted);
                }
                append(&mut whole, &data, wanted);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// Adds a piece to a body that is to have `promised` bytes in all, as far as is known.
pub(crate) fn append(whole: &mut BytesMut, piece: &[u8], promised: usize) {
    let came = whole.len() + piece.len();
    if whole.capacity() < came {
        let trusted = if came >= TRUSTED_BYTES { promised } else { promised.min(came.saturating_mul(TRUST)) };
        whole.reserve(trusted.max(came) - whole.len());
    }
    whole.extend_from_slice(piece);
}

/// Refuses a body by the length that was promised.
///
/// # Errors
/// `body-too-large`.
pub(super) fn check_promised(promised: Option<u64>, limit: usize) -> Result<(), OipError> {
    let fits = promised.is_none_or(|len| usize::try_from(len).is_ok_and(|len| len <= limit));
    if fits { Ok(()) } else { Err(too_large(limit)) }
}

/// Throws a body away so that the connection can go on. False when it is too large or too slow for that: then the
/// connection has to be closed.
pub(super) async fn discard(mut body: Incoming, silence: Duration) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if body.size_hint().exact().is_none_or(|len| len > DISCARD_BYTES) {
        return false;
    }
    loop {
        match piece(&mut body, silence).await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The next bytes of a body; `None` at its end.
///
/// # Errors
/// `body-too-slow` when nothing comes for `silence`; `bad-request` when it breaks off.
pub(crate) async fn piece(body: &mut Incoming, silence: Duration) -> Result<Option<Bytes>, OipError> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame()).await.map_err(|_| {
            let message = format!("no byte of the body came for {} s", silence.as_secs_f64());
            OipError::new(Reason::BodyTooSlow, message)
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(OipError::bad_request("the body broke off")),
            // Trailers are of no use here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The error of a body above the limit.
pub(crate) fn too_large(limit: usize) -> OipError {
    let limit = weir_protocol::Bytes(limit as u64);
    OipError::new(Reason::BodyTooLarge, format!("the body is too large: at most {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_what_came_and_with_the_promise_only_once_much_came() {
        let (mut whole, promised) = (BytesMut::new(), 64 << 20);
        for _ in 0..2 {
            append(&mut whole, &[7; 25], promised);
        }
        assert!((50 * TRUST / 2..1024).contains(&whole.capacity()), "{}", whole.capacity());
        append(&mut whole, &vec![7; TRUSTED_BYTES], promised);
        append(&mut whole, &[7; 25], promised);
        assert!(whole.capacity() >= promised);
        assert_eq!(whole.len(), 75 + TRUSTED_BYTES);
        assert!(whole.iter().all(|byte| *byte == 7));
        let mut exact = BytesMut::new();
        append(&mut exact, &[7; 400], 600);
        let room = exact.capacity();
        append(&mut exact, &[7; 200], 600);
        assert_eq!(
            (room, exact.capacity(), exact.len()),
            (600, 600, 600),
            "one allocation, no more than promised"
        );
    }
}
