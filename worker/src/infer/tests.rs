//! Which rejection an error becomes.

use weir_protocol::Version;

use super::*;
use crate::model::store::Unresolved;

#[test]
fn only_what_was_not_started_is_a_refusal() {
    let (model, version) = ("m".parse().unwrap(), Version::new(2).unwrap());
    let known = "1".to_owned();
    let unknown = Unresolved::Model("m".parse().unwrap());
    let missing = Unresolved::Version { model, version: version.into(), known };
    let unready = Unresolved::NotReady { model: "m".parse().unwrap(), version: None, state: "x" };
    let refused = (Reason::NotReady, Some(Refusal::NotReady));
    for (unresolved, to_client) in [
        (unknown, (Reason::ModelNotFound, None)),
        (missing, (Reason::VersionNotFound, None)),
        (unready, refused),
    ] {
        let told = |from_gateway| {
            let rejection = Rejection::unresolved(&unresolved, from_gateway);
            (rejection.error.reason, rejection.refusal)
        };
        assert_eq!((told(false), told(true)), (to_client, refused), "{unresolved}");
    }
    assert_eq!(Rejection::late().refusal, None);
    for refusal in Refusal::ALL {
        let rejection = Rejection::refused(refusal);
        assert_eq!((rejection.error.reason, rejection.refusal), (refusal.reason(), Some(refusal)));
    }
}

#[tokio::test]
async fn work_on_much_text_leaves_the_thread_and_survives_a_panic() {
    let here = std::thread::current().id();
    let ran_on = || std::thread::current().id();
    assert_eq!(offload(INLINE_TEXT_BYTES, ran_on).await.unwrap(), here);
    assert_ne!(offload(INLINE_TEXT_BYTES + 1, ran_on).await.unwrap(), here);
    let panics = offload(INLINE_TEXT_BYTES + 1, || panic!("scripted")).await;
    let nothing: Result<(), _> = panics;
    assert_eq!(nothing.unwrap_err().reason, Reason::Internal);
}

/// What is told of a request whose parts end so; no deadline.
async fn parts(ends: Vec<Option<Result<Done, JobError>>>) -> Result<Vec<Done>, Rejection> {
    let (mut waiting, mut replies) = (Vec::new(), Vec::new());
    for end in ends {
        let (sender, reply) = oneshot::channel();
        replies.push(reply);
        match end {
            Some(end) => sender.send(end).unwrap(),
            None => waiting.push(sender),
        }
    }
    let told = until(None, Clock::start(), replies).await;
    assert!(waiting.iter().all(oneshot::Sender::is_closed), "nobody waits for the other parts any more");
    told
}

fn done(rows: &'static [u8]) -> Done {
    let outputs = vec![(vec![i64::try_from(rows.len()).unwrap()], rows.into())];
    Done { outputs, waited: Duration::ZERO, forward: Duration::ZERO }
}

#[tokio::test]
async fn parts_come_in_the_order_of_the_request() {
    let ends = vec![Some(Ok(done(b"ab"))), Some(Ok(done(b"c")))];
    assert_eq!(parts(ends).await, Ok(vec![done(b"ab"), done(b"c")]));
}

#[tokio::test]
async fn the_first_part_that_fails_ends_the_request_and_frees_the_others() {
    let failed = JobError::Failed("no luck".to_owned());
    let told = parts(vec![None, Some(Err(failed)), None]).await.unwrap_err();
    assert_eq!((told.error.reason, told.refusal), (Reason::ModelFailed, None));
}

#[tokio::test]
async fn a_request_of_which_a_part_may_have_run_is_late_and_not_refused() {
    for end in [JobError::Expired, JobError::Hopeless] {
        let alone = parts(vec![Some(Err(end.clone()))]).await.unwrap_err();
        assert_eq!(alone.refusal, Some(Refusal::Deadline));
        let split = parts(vec![Some(Ok(done(b"ab"))), Some(Err(end))]).await.unwrap_err();
        assert_eq!((split.error.reason, split.refusal), (Reason::Deadline, None));
    }
}
