//! The first message of a call: read before a worker is chosen, for the names in it and to be sent again.
//!
//! A message that may be held is read whole; of a longer one as much as the names take. Decides no route. Called by
//! [`super`] for every call that is passed on.

use std::time::Duration;

use pingora::proxy::Session;
use weir_config::gateway::Limits;
use weir_protocol::{OipError, Reason};

use super::{
    encoding::Encoding,
    fields::{self, Fields},
    frame::{PREFIX_BYTES, Prefix},
    reader::Reader,
};
use crate::proxy::{
    body::{Body, HoldBudget, HoldShare, Opening, RETRY_BUFFER_BYTES, in_time},
    classify,
    local::Stop,
};

/// What was read ahead of a call.
#[derive(Debug)]
pub(in crate::proxy) struct First {
    /// The body for the attempts.
    pub(in crate::proxy) body: Body,
    /// The names in its first message.
    pub(in crate::proxy) names: Fields,
}

/// Bounds on reading ahead.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Bounds<'a> {
    /// What may be held and searched.
    pub(in crate::proxy) limits: &'a Limits,
    /// How long a stream may be open before its first byte comes; `None` for calls of one message.
    pub(in crate::proxy) silence: Option<Duration>,
    /// For reading all of it, from the first byte of a stream on.
    pub(in crate::proxy) within: Duration,
    /// How the call's messages are compressed.
    pub(in crate::proxy) encoding: Option<Encoding>,
}

/// Reads the first message as far as bounds and `budget` allow; `None` when the call has no message.
///
/// # Errors
/// `body-too-large` (per message), `body-too-slow`, `bad-request`: no gRPC body, or names that come too late.
pub(in crate::proxy) async fn read(
    session: &mut Session,
    budget: &HoldBudget,
    bounds: Bounds<'_>,
) -> Result<Option<First>, Stop> {
    session.enable_retry_buffering();
    let mut reader = Reader::default();
    if let Some(silence) = bounds.silence {
        in_time(silence, reader.begun(session)).await??;
    }
    in_time(bounds.within, read_first(reader, session, budget, bounds)).await?
}

async fn read_first(
    mut reader: Reader,
    session: &mut Session,
    budget: &HoldBudget,
    bounds: Bounds<'_>,
) -> Result<Option<First>, Stop> {
    if !reader.begun(session).await? {
        return Ok(None);
    }
    reader.fill(session, PREFIX_BYTES).await?;
    let Some(prefix) = reader.prefix() else { return Ok(None) };
    if u64::from(prefix.length) > bounds.limits.body_bytes.0 {
        return Err(classify::too_large(bounds.limits).into());
    }
    let (names, share) = match room(prefix.total(), budget, bounds.limits) {
        Some(share) => {
            let total = usize::try_from(prefix.total()).unwrap_or(usize::MAX);
            reserve(&mut reader, total);
            reader.fill(session, total).await?;
            (names(&reader, prefix, bounds)?, share)
        }
        None => (search(&mut reader, session, prefix, bounds).await?, None),
    };
    if !names.settled {
        return Err(too_late(bounds.limits).into());
    }
    let opening = Opening { bytes: reader.bytes.freeze(), buffered: reader.buffered };
    Ok(Some(First { body: Body::held(opening, share), names }))
}

/// Whether a message may be held whole; a longer one takes a share of the budget.
#[expect(clippy::option_option, reason = "held without a share, held with one, not held")]
fn room(total: u64, budget: &HoldBudget, limits: &Limits) -> Option<Option<HoldShare>> {
    if total <= RETRY_BUFFER_BYTES {
        return Some(None);
    }
    if total > limits.replay_bytes.0 {
        return None;
    }
    budget.take(total, limits.replay_total_bytes.0).map(Some)
}

/// Makes room once instead of growing with every frame. The client has shown no more than a prefix so far, but its
/// share of the budget is taken.
fn reserve(reader: &mut Reader, total: usize) {
    reader.bytes.reserve(total.saturating_sub(reader.bytes.len()));
}

/// Reads on until the names are settled or as much was searched as may be.
async fn search(
    reader: &mut Reader,
    session: &mut Session,
    prefix: Prefix,
    bounds: Bounds<'_>,
) -> Result<Fields, Stop> {
    let most = prefix.total().min(bounds.limits.scan_bytes.0);
    loop {
        let names = names(reader, prefix, bounds)?;
        let at_hand = reader.bytes.len() as u64;
        if names.settled || at_hand >= most {
            return Ok(names);
        }
        // Twice as much each time: a message that comes in small pieces must not be looked at anew for each of them.
        reader.fill(session, usize::try_from(most.min(2 * at_hand)).unwrap_or(usize::MAX)).await?;
    }
}

/// The names in as much of the message as is at hand.
fn names(reader: &Reader, prefix: Prefix, bounds: Bounds<'_>) -> Result<Fields, OipError> {
    let rest = reader.bytes.get(PREFIX_BYTES..).unwrap_or_default();
    let message = rest.get(..prefix.length as usize).unwrap_or(rest);
    let whole = message.len() == prefix.length as usize;
    let found = match (prefix.compressed, bounds.encoding) {
        (false, _) => fields::scan(message, whole),
        (true, Some(encoding)) => {
            let inflated = encoding.inflate(message, bounds.limits.scan_bytes.0)?;
            fields::scan(&inflated.bytes, whole && !inflated.cut)
        }
        (true, None) => {
            return Err(OipError::bad_request("a message is compressed, and grpc-encoding does not say how"));
        }
    };
    found.map_err(|_| OipError::bad_request("the message is no protobuf message of this call"))
}

fn too_late(limits: &Limits) -> OipError {
    let message = format!(
        "the model's name comes too late in this message: name it before the tensors, or send at most {} without \
         compression",
        limits.replay_bytes
    );
    OipError::new(Reason::BadRequest, message)
}

#[cfg(test)]
mod tests;
