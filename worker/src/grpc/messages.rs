//! Reads the messages of a call from its body.
//!
//! Each message is a flag, a length and so many bytes ("gRPC over HTTP2", Length-Prefixed-Message). Here they meet the
//! same limits as REST bodies: size, silence, and the budget of all bodies in hand, whose bytes a message keeps until
//! nobody has a piece of it. What must not be read is thrown away before a refusal leaves, so that it arrives.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Incoming;
use weir_protocol::{
    OipError, Refusal,
    grpc::{GrpcCall, ModelInferRequest},
};

use super::{coding::Coding, weight};
use crate::{
    http::{
        body,
        budget::{self, BodyBudget, Share},
        inflate::{self, Bounds},
    },
    infer::{self, Rejection},
    server::Worker,
    shutdown::Phase,
    tasks::Tasks,
};

/// Flag and length in front of each message.
pub(super) const PREFIX_BYTES: usize = 5;

/// Most bytes of a refused call that are thrown away; of a larger one the client may see a broken stream instead of
/// the reason.
const DRAIN_BYTES: usize = 64 << 20;

/// Longest time that a refused call is thrown away.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The messages of one call.
pub(super) struct Messages {
    body: Incoming,
    /// What came and belongs to no message yet.
    rest: Bytes,
    inflates: Option<Inflates>,
    limit: usize,
    silence: Duration,
    /// Whether the client may be silent between messages.
    idle: bool,
    budget: BodyBudget,
}

/// One message, complete and not yet decoded.
pub(super) struct Message {
    data: Bytes,
    share: Share,
    /// How it is compressed.
    inflates: Option<Inflates>,
}

/// A decoded inference.
pub(super) struct Inference {
    /// The message.
    pub(super) request: ModelInferRequest,
    /// Bytes of the plain message.
    pub(super) bytes: usize,
    /// What it holds of the budget. Raw contents keep it by themselves, for all else it must live as long as the request.
    pub(super) share: Arc<Share>,
}

/// How the compressed messages of a call become plain.
#[derive(Clone)]
struct Inflates {
    coding: Coding,
    bounds: Bounds,
    budget: BodyBudget,
}

impl Messages {
    /// The messages of a body, those that are compressed in `coding`. How large they may be, and whether the client may be
    /// silent between them, is what `call` says; `None` for a call that will not be answered.
    pub(super) fn new(
        worker: &Worker,
        body: Incoming,
        coding: Option<Coding>,
        call: Option<GrpcCall>,
    ) -> Self {
        let limits = &worker.config.limits;
        let (most, budget) = (limits.body_bytes.as_usize(), worker.bodies.clone());
        let idle = call == Some(GrpcCall::ModelStreamInfer);
        let is_inference = idle || call == Some(GrpcCall::ModelInfer);
        let limit = if is_inference { most } else { body::CALL_BYTES.min(most) };
        let bounds = Bounds { bytes: limit, factor: limits.inflate_factor };
        let inflates = coding.map(|coding| Inflates { coding, bounds, budget: budget.clone() });
        Self { body, rest: Bytes::new(), inflates, limit, silence: limits.body_timeout, idle, budget }
    }

    /// The one message of a call that has one.
    ///
    /// # Errors
    /// As [`Self::next`]; `bad-request` when there is none or another.
    pub(super) async fn only(&mut self) -> Result<Message, Rejection> {
        let wrong = || OipError::bad_request("expected one message");
        let message = self.next().await?.ok_or_else(wrong)?;
        match self.prefix().await? {
            None => Ok(message),
            Some(_) => Err(wrong().into()),
        }
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// `body-too-large`, `body-too-slow`, the refusal `memory`; `bad-request` when the body ends within a message or its
    /// framing is not gRPC's. None of them leaves anything to go on with.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Rejection> {
        let Some((compressed, length)) = self.prefix().await? else { return Ok(None) };
        if length > self.limit {
            return Err(body::too_large(self.limit).into());
        }
        let inflates = self.inflates.clone().filter(|_| compressed);
        if compressed && inflates.is_none() {
            return Err(OipError::bad_request("a compressed message without grpc-encoding").into());
        }
        let mut share = self.budget.share();
        let data = self.take(length, &mut share).await?;
        Ok(Some(Message { data, share, inflates }))
    }

    /// Throws away what still comes, within bounds.
    pub(super) async fn drain(mut self) {
        let drain = async {
            let mut left = DRAIN_BYTES;
            while let Ok(Some(piece)) = body::piece(&mut self.body, self.silence).await {
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    return;
                }
            }
        };
        // Whoever is slower than that learns of its answer by luck.
        let _ = tokio::time::timeout(DRAIN_LIMIT, drain).await;
    }

    /// As [`Self::drain`], beside an answer that has left; not beyond the worker's closing.
    pub(super) fn drain_beside(self, worker: &Arc<Worker>, tasks: &Tasks) {
        let worker = Arc::clone(worker);
        tasks.spawn("drain of a call", async move {
            tokio::select! {
                () = self.drain() => {}
                () = worker.shutdown.reached(Phase::Closing) => {}
            }
        });
    }

    /// Flag and length of the next message; `None` at the end.
    async fn prefix(&mut self) -> Result<Option<(bool, usize)>, Rejection> {
        while self.rest.len() < PREFIX_BYTES {
            let idle = self.idle && self.rest.is_empty();
            let piece = if idle { self.piece_ever().await? } else { self.piece().await? };
            match piece {
                Some(piece) if self.rest.is_empty() => self.rest = piece,
                Some(piece) => self.rest = [&self.rest[..], &piece].concat().into(),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(cut_off().into()),
            }
        }
        let (flag, length) = (self.rest.get_u8(), self.rest.get_u32());
        match flag {
            0 | 1 => Ok(Some((flag == 1, usize::try_from(length).unwrap_or(usize::MAX)))),
            _ => Err(OipError::bad_request("the body is not made of gRPC messages").into()),
        }
    }

    /// Takes `length` bytes. Those that came in one piece are not copied.
    async fn take(&mut self, length: usize, share: &mut Share) -> Result<Bytes, Rejection> {
        let mut whole = BytesMut::new();
        loop {
            let piece = self.rest.split_to(self.rest.len().min(length - whole.len()));
            if !share.grow(piece.len()) {
                return Err(Rejection::refused(Refusal::Memory));
            }
            if whole.is_empty() && piece.len() == length {
                return Ok(piece);
            }
            body::append(&mut whole, &piece, length);
            if whole.len() == length {
                return Ok(whole.freeze());
            }
            self.rest = self.piece().await?.ok_or_else(cut_off)?;
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, OipError> {
        body::piece(&mut self.body, self.silence).await
    }

    /// The next piece, however long it takes.
    async fn piece_ever(&mut self) -> Result<Option<Bytes>, OipError> {
        body::piece(&mut self.body, Duration::MAX).await
    }
}

impl Message {
    /// Decodes the message; on another thread when it is large.
    ///
    /// # Errors
    /// What is wrong with its compression or its content.
    pub(super) async fn decode<M: prost::Message + Default + 'static>(self) -> Result<M, Rejection> {
        let (whole, share) = self.plain().await?;
        Ok(infer::offload(whole.len(), move || parse(whole, &Arc::new(share))).await??)
    }

    /// Decodes an inference of at most `tensors` inputs, and as many outputs, within what the budget has left.
    ///
    /// # Errors
    /// As [`Self::decode`]; too many tensors; the refusal `memory` when there is no room for what the message becomes.
    pub(super) async fn inference(self, tensors: usize) -> Result<Inference, Rejection> {
        let (whole, mut share) = self.plain().await?;
        let bytes = whole.len();
        let decode = move || {
            if !share.grow(weight::of(&whole, tensors)?) {
                return Err(Rejection::refused(Refusal::Memory));
            }
            let share = Arc::new(share);
            Ok(Inference { request: parse(whole, &share)?, bytes, share })
        };
        infer::offload(bytes, decode).await?
    }

    /// The message, inflated if it was compressed, and its share of the budget.
    async fn plain(self) -> Result<(Bytes, Share), Rejection> {
        let Self { data, share, inflates } = self;
        match inflates {
            // The compressed bytes are given back once they are inflated.
            Some(Inflates { coding, bounds, budget }) => {
                inflate::inflate(data, coding, bounds, budget.share()).await
            }
            None => Ok((data, share)),
        }
    }
}

fn parse<M: prost::Message + Default>(whole: Bytes, share: &Arc<Share>) -> Result<M, OipError> {
    M::decode(budget::hold(whole, share))
        .map_err(|error| OipError::bad_request(format!("cannot read the message: {error}")))
}

fn cut_off() -> OipError {
    OipError::bad_request("the body ends within a message")
}
