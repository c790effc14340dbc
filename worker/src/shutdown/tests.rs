//! Phases and the count of requests that are owed an answer.

use super::*;

#[tokio::test]
async fn phases_only_move_on() {
    let shutdown = Shutdown::default();
    assert_eq!(shutdown.phase(), Phase::Running);
    shutdown.enter(Phase::Closing);
    shutdown.enter(Phase::Draining);
    assert_eq!(shutdown.phase(), Phase::Closing);
    for phase in [Phase::Running, Phase::Draining, Phase::Closing] {
        shutdown.reached(phase).await;
    }
}

#[tokio::test]
async fn whoever_waits_for_a_phase_is_woken_by_it_or_a_later_one() {
    let shutdown = Shutdown::default();
    let waiting = [shutdown.clone(), shutdown.clone()];
    let both =
        async { tokio::join!(waiting[0].reached(Phase::Draining), waiting[1].reached(Phase::Closing)) };
    let (_, ()) = tokio::join!(both, async {
        tokio::task::yield_now().await;
        shutdown.enter(Phase::Closing);
    });
}

#[test]
fn requests_beyond_the_limit_are_not_counted() {
    let shutdown = Shutdown::default();
    let guards: Vec<_> = (0..2).filter_map(|_| shutdown.begin(2)).collect();
    assert_eq!((guards.len(), shutdown.begin(2).is_none(), shutdown.in_flight()), (2, true, 2));
    drop(guards);
    assert_eq!((shutdown.in_flight(), shutdown.begin(2).is_some()), (0, true));
}

#[tokio::test]
async fn idle_comes_when_the_last_request_is_done() {
    let shutdown = Shutdown::default();
    shutdown.idle().await;
    let (first, second) = (shutdown.begin(9), shutdown.begin(9));
    let mut idle = std::pin::pin!(shutdown.idle());
    drop(first);
    assert!(futures_util::poll!(idle.as_mut()).is_pending(), "one is still in flight");
    drop(second);
    idle.await;
}
