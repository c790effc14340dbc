//! First messages of every size class, over a real HTTP/2 stream: what is held, what names it has, what an attempt gets.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use weir_protocol::grpc::ModelInferRequest;

use super::{super::frame::framed, *};
use crate::{
    proxy::test_session::{Look, look_over_h2},
    tests::{TWO_WORKERS, config},
};

/// `[limits]` of these tests.
fn limits() -> Limits {
    Limits {
        body_bytes: weir_protocol::Bytes::mib(8),
        replay_bytes: weir_protocol::Bytes::mib(1),
        scan_bytes: weir_protocol::Bytes::kib(256),
        ..config(TWO_WORKERS).limits.clone()
    }
}

/// A message about model `m`, version 3, with tensors of so many bytes.
fn message(tensors: usize) -> Bytes {
    let pattern: Vec<u8> = (0..tensors).map(|index| (index % 251) as u8).collect();
    framed(&ModelInferRequest {
        model_name: "m".to_owned(),
        model_version: "3".to_owned(),
        raw_input_contents: vec![pattern.into()],
        ..Default::default()
    })
}

/// What a test finds: the names, the bytes that a first attempt is given at once, and whether pingora's buffer is fit to
/// replay.
#[derive(Debug)]
struct Found {
    names: Fields,
    given: Bytes,
    held: u64,
    share: bool,
}

/// Reads the first message of a body that comes in these pieces.
async fn read_pieces(
    pieces: Vec<Bytes>,
    ends: bool,
    encoding: Option<Encoding>,
) -> Result<Option<Found>, Reason> {
    let look: Look<_> = Box::new(move |session| {
        Box::pin(async move {
            let (limits, budget) = (limits(), HoldBudget::default());
            let bounds = Bounds { limits: &limits, silence: None, within: Duration::from_secs(20), encoding };
            let First { mut body, names } = match read(session, &budget, bounds).await {
                Ok(Some(first)) => first,
                Ok(None) => return Ok(None),
                Err(Stop::Refuse(error) | Stop::Close(error)) => return Err(error.reason),
                Err(Stop::Gone(error)) => panic!("{error}"),
            };
            let buffer = session.as_downstream().get_retry_buffer();
            assert!(buffer.as_ref().is_some_and(|buffer| !buffer.is_empty()), "pingora would hang");
            assert!(body.replayable(session));
            let mut given = Vec::new();
            for _attempt in 0..2 {
                body.rewind(None);
                let mut chunk = buffer.clone();
                body.splice(&mut chunk);
                given.push(chunk.unwrap());
            }
            assert_eq!(given[0], given[1], "both attempts are given the same");
            let held = body.opening(session).len() as u64;
            let share = budget.take(limits.replay_total_bytes.0, limits.replay_total_bytes.0).is_none();
            Ok(Some(Found { names, given: given.remove(0), held, share }))
        })
    });
    look_over_h2(pieces, ends, look).await
}

/// The same for a body that is one message cut into pieces of this size.
async fn read_whole(message: &Bytes, piece: usize, ends: bool) -> Found {
    let pieces = message.chunks(piece).map(Bytes::copy_from_slice).collect();
    read_pieces(pieces, ends, None).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_message_is_held_whole_and_every_attempt_is_given_it() {
    // Around what one read, pingora's buffer and both together hold.
    for tensors in [0, 1_000, 16_000, 48_000, 49_152, 65_000, 65_536, 66_000, 200_000, 1_000_000] {
        let message = message(tensors);
        for ends in [true, false] {
            let found = read_whole(&message, 100_000, ends).await;
            assert_eq!((found.names.model.as_str(), found.names.version.as_str()), ("m", "3"));
            assert_eq!(found.given, message, "{tensors} bytes, ends: {ends}");
            assert_eq!(found.share, message.len() > 65_536, "{tensors}: larger ones take of the budget");
        }
    }
}

#[tokio::test]
async fn a_message_may_come_in_small_pieces() {
    // Smaller ones in such numbers the HTTP/2 library takes for an attack.
    let message = message(300);
    assert_eq!(read_whole(&message, 4, true).await.given, message);
}

#[tokio::test]
async fn what_follows_the_first_message_is_given_as_well() {
    let both = [message(100), message(200)].concat();
    let found = read_pieces(vec![both.clone().into()], false, None).await.unwrap().unwrap();
    assert_eq!(found.given, both);
}

#[tokio::test]
async fn a_message_above_the_replay_limit_is_read_as_far_as_its_names_take() {
    let message = message(3 << 20);
    let found = read_whole(&message, 16_384, true).await;
    assert_eq!((found.names.model.as_str(), found.names.settled), ("m", true));
    assert!(found.held < 100_000, "{} bytes were read ahead", found.held);
    assert_eq!(found.given, message[..found.held as usize], "nothing of it is lost");
    assert!(!found.share);
}

#[tokio::test]
async fn a_message_that_comes_in_small_pieces_is_looked_at_few_times() {
    let id = ModelInferRequest { id: "i".repeat(70_000), ..Default::default() };
    let message = [&id.encode_to_vec()[..], &message(2 << 20)[PREFIX_BYTES..]].concat();
    let mut bytes = bytes::BytesMut::new();
    Prefix { compressed: false, length: message.len() as u32 }.put(&mut bytes);
    bytes.extend_from_slice(&message);
    let found = read_whole(&bytes.freeze(), 4_096, true).await;
    assert_eq!((found.names.model.as_str(), found.names.settled), ("m", true));
    // The first piece and twice as much each time, where a look at every piece would have found the name in the 18th.
    assert_eq!(found.held, 4_096 * 32);
}

#[tokio::test]
async fn a_long_message_that_names_its_model_behind_the_tensors_is_refused_and_a_short_one_is_not() {
    let late = |tensors| {
        let tensors =
            ModelInferRequest { raw_input_contents: vec![vec![1; tensors].into()], ..Default::default() };
        let named = ModelInferRequest { model_name: "late".to_owned(), ..Default::default() };
        let message = [tensors.encode_to_vec(), named.encode_to_vec()].concat();
        let mut bytes = bytes::BytesMut::new();
        Prefix { compressed: false, length: message.len() as u32 }.put(&mut bytes);
        bytes.extend_from_slice(&message);
        bytes.freeze()
    };
    assert_eq!(read_whole(&late(500_000), 16_384, true).await.names.model, "late");
    let refused = read_pieces(vec![late(2 << 20)], true, None).await;
    assert_eq!(refused.unwrap_err(), Reason::BadRequest);
}

#[tokio::test]
async fn a_compressed_message_is_searched_and_passed_on_as_it_came() {
    let plain = message(100_000);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&plain[5..]).unwrap();
    let packed = encoder.finish().unwrap();
    let mut bytes = bytes::BytesMut::new();
    Prefix { compressed: true, length: packed.len() as u32 }.put(&mut bytes);
    bytes.extend_from_slice(&packed);
    let bytes = bytes.freeze();
    let found = read_pieces(vec![bytes.clone()], true, Some(Encoding::Gzip)).await.unwrap().unwrap();
    assert_eq!((found.names.model.as_str(), &found.given), ("m", &bytes));
    let undeclared = read_pieces(vec![bytes], true, None).await;
    assert_eq!(undeclared.unwrap_err(), Reason::BadRequest);
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_no_message_at_all_is_none() {
    let refused = async |pieces: Vec<Bytes>| read_pieces(pieces, true, None).await.unwrap_err();
    assert_eq!(refused(vec![message(100).slice(..50)]).await, Reason::BadRequest, "cut off");
    assert_eq!(refused(vec![Bytes::from_static(&[0, 0, 0])]).await, Reason::BadRequest, "within the prefix");
    assert_eq!(refused(vec![Bytes::from_static(&[0, 0, 0, 0, 1, 0xff])]).await, Reason::BadRequest);
    let too_large = Bytes::copy_from_slice(&[&[0][..], &(9_u32 << 20).to_be_bytes()].concat());
    assert_eq!(refused(vec![too_large]).await, Reason::BodyTooLarge, "by what the prefix says");
    assert!(read_pieces(Vec::new(), true, None).await.unwrap().is_none());
}

/// Why the first message could not be read of a client that sends these pieces and then nothing.
async fn stalled(pieces: Vec<Bytes>, silence: Option<Duration>, within: Duration) -> Reason {
    let look: Look<_> = Box::new(move |session| {
        Box::pin(async move {
            let bounds = Bounds { limits: &limits(), silence, within, encoding: None };
            match read(session, &HoldBudget::default(), bounds).await {
                Err(Stop::Close(error)) => error.reason,
                _ => panic!("half a message was enough"),
            }
        })
    });
    look_over_h2(pieces, false, look).await
}

#[tokio::test]
async fn a_client_that_stalls_is_too_slow_and_a_stream_only_once_it_has_begun() {
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(600));
    let half = || vec![message(100).slice(..50)];
    assert_eq!(stalled(half(), None, short).await, Reason::BodyTooSlow);
    assert_eq!(stalled(half(), Some(long), short).await, Reason::BodyTooSlow, "it has begun");
    assert_eq!(stalled(Vec::new(), Some(short), long).await, Reason::BodyTooSlow);
}
