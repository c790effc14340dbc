//! Reading bodies of every size class ahead, and what an attempt is given.

use tokio::io::AsyncWriteExt;

use super::{super::test_session::session, *};

const LIMITS: HoldLimits =
    HoldLimits { replay: 1 << 20, total: 4 << 20, within: Duration::from_secs(20), searched: 0 };

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8).collect()
}

/// Reads ahead a body of `bytes` sent with a Content-Length.
async fn ahead(bytes: usize, budget: &HoldBudget) -> (Body, Session) {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    let (mut session, mut client) = session(&head).await;
    let sending = async {
        client.write_all(&pattern(bytes)).await.unwrap();
        client
    };
    let reading = Body::read_ahead(&mut session, Some(bytes as u64), budget, &LIMITS);
    // A body that is not read ahead may stay in the socket's buffers only in part: do not wait for its sender.
    let body = tokio::select! {
        body = reading => body.unwrap(),
        (body, _) = async { tokio::join!(std::future::pending::<Body>(), sending) } => body,
    };
    (body, session)
}

#[tokio::test]
async fn a_body_up_to_64_kib_is_left_to_the_proxy_librarys_own_buffer() {
    for bytes in [1, 1_000, 65_535, 65_536] {
        let (body, mut session) = ahead(bytes, &HoldBudget::default()).await;
        assert!(matches!(body, Body::Buffered), "{bytes}: {body:?}");
        assert!(session.is_body_done() && body.replayable(&session));
        assert_eq!(session.as_downstream().get_retry_buffer().unwrap(), pattern(bytes), "{bytes}");
    }
}

#[tokio::test]
async fn a_larger_body_is_held_and_its_tail_stays_in_the_librarys_buffer() {
    for bytes in [65_537, 66_000, 100_000, 131_073, 1 << 20] {
        let (mut body, mut session) = ahead(bytes, &HoldBudget::default()).await;
        let tail = session.as_downstream().get_retry_buffer();
        assert!(
            session.is_body_done() && tail.as_ref().is_some_and(|t| !t.is_empty()),
            "{bytes}: would hang"
        );
        for attempt in 1..=2 {
            body.rewind(None);
            let mut chunk = tail.clone();
            body.splice(&mut chunk);
            assert_eq!(chunk.unwrap(), pattern(bytes), "{bytes}, attempt {attempt}");
            let mut rest = None;
            body.splice(&mut rest);
            assert_eq!(rest, None, "{bytes}: nothing is sent twice in attempt {attempt}");
        }
    }
}

#[tokio::test]
async fn a_body_above_the_replay_limit_streams() {
    let (body, mut session) = ahead((1 << 20) + 1, &HoldBudget::default()).await;
    assert!(matches!(body, Body::Streaming));
    assert!(!session.is_body_done(), "nothing may be read of it");
}

#[tokio::test]
async fn a_body_streams_when_all_held_bodies_together_reach_their_limit() {
    let budget = HoldBudget::default();
    let others = budget.take(LIMITS.total - 99_999, LIMITS.total).unwrap();
    let (body, _) = ahead(100_000, &budget).await;
    assert!(matches!(body, Body::Streaming));
    drop(others);
    let (body, _) = ahead(100_000, &budget).await;
    assert!(matches!(body, Body::Held(_)), "a share that was given back is free again");
    assert_eq!(budget.0.load(Ordering::Relaxed), 100_000);
    drop(body);
    assert_eq!(budget.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_stalls_is_too_slow() {
    let (mut session, mut client) = session("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
    client.write_all(b"half").await.unwrap();
    let limits = HoldLimits { within: Duration::from_millis(50), ..LIMITS };
    let body = Body::read_ahead(&mut session, Some(10), &HoldBudget::default(), &limits).await;
    assert!(matches!(body, Err(BodyError::TooSlow)), "{body:?}");
}

#[tokio::test]
async fn a_client_that_leaves_midway_is_gone() {
    let (mut session, mut client) =
        session("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    client.write_all(b"half").await.unwrap();
    drop(client);
    let body = Body::read_ahead(&mut session, Some(100_000), &HoldBudget::default(), &LIMITS).await;
    assert!(matches!(body, Err(BodyError::Gone(_))), "{body:?}");
}

#[tokio::test]
async fn a_chunked_body_is_read_only_as_far_as_it_can_be_replayed() {
    let (mut session, mut client) =
        session("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.write_all(b"5\r\nhello\r\n").await.unwrap();
    let body = Body::read_ahead(&mut session, None, &HoldBudget::default(), &LIMITS).await.unwrap();
    assert!(matches!(body, Body::Streaming) && body.replayable(&session));
    assert_eq!(session.as_downstream().get_retry_buffer().unwrap(), b"hello"[..]);
}

#[tokio::test]
async fn what_an_answered_worker_was_given_is_given_back_and_not_before() {
    let budget = HoldBudget::default();
    let (mut body, session) = ahead(100_000, &budget).await;
    body.let_go();
    assert!(body.replayable(&session), "the worker was given nothing yet");
    body.splice(&mut None);
    body.let_go();
    assert!(!body.replayable(&session), "it was answered: no other worker may be asked");
    assert_eq!(budget.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_that_passes_through_is_read_as_far_as_it_is_searched_and_none_of_it_is_lost() {
    // (length, searched, least that must be in hand); all above the limit of these tests.
    for (length, searched, least) in [
        (40_000, 1, 40_000),
        (65_536, 1 << 20, 65_536),
        (70_000, 1, 1),
        (300_000, 100_000, 100_000),
        (300_000, 1 << 20, 234_464),
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        let (mut session, mut client) = session(&head).await;
        let limits = HoldLimits { replay: 0, searched, ..LIMITS };
        let sending = async {
            client.write_all(&pattern(length)).await.unwrap();
            std::future::pending::<()>().await;
        };
        let budget = HoldBudget::default();
        let body = Body::read_ahead(&mut session, Some(length as u64), &budget, &limits);
        let mut body = tokio::select! {
            body = body => body.unwrap(),
            () = sending => unreachable!("the client waits"),
        };
        let opening = body.opening(&session);
        assert!(opening.len() >= least, "{length}: {} bytes", opening.len());
        assert_eq!(opening, pattern(length)[..opening.len()]);
        if matches!(body, Body::Held(_)) {
            assert!(!session.is_body_done(), "{length}: pingora would hang");
            let mut next = Some(Bytes::from_static(b"next"));
            body.splice(&mut next);
            assert_eq!(next.unwrap(), [&opening[..], b"next"].concat(), "{length}");
        } else {
            assert!(matches!(body, Body::Buffered) && session.is_body_done());
        }
    }
}
