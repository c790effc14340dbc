//! The order of a stop, on a clock that stands still until everybody waits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::time::Instant;

use super::*;
use crate::tests::{config, running};

const QUICK_STOP: &str = "version = 1\n[gateway]\ndrain_delay = \"2s\"\ndrain_timeout = \"30s\"\n\
     [[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1001\"\n";

#[tokio::test(start_paused = true)]
async fn an_idle_gateway_stops_right_after_the_delay() {
    let (registry, _tasks) = running(config(QUICK_STOP));
    let closed = AtomicBool::new(false);
    let begun = Instant::now();
    assert_eq!(drain(&registry, async { closed.store(true, SeqCst) }).await, Stopped::Idle);
    assert!(closed.load(SeqCst));
    assert!(begun.elapsed() < Duration::from_millis(2_200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn readiness_ends_first_then_the_listeners_then_the_open_requests() {
    let (registry, tasks) = running(config(QUICK_STOP));
    let closed = Arc::new(AtomicBool::new(false));
    let close = Arc::clone(&closed);
    let open = registry.open_request();
    let (stopping, begun) = (Arc::clone(&registry), Instant::now());
    let (tell, stopped) = tokio::sync::oneshot::channel();
    tasks.spawn(
        "stop",
        async move { _ = tell.send(drain(&stopping, async { close.store(true, SeqCst) }).await) },
    );

    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(registry.stopping() && !closed.load(SeqCst), "not ready, but still listening");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(closed.load(SeqCst), "the delay is over");
    let late = registry.open_request();
    drop(open);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(stopped.is_empty(), "one request is still open");
    drop(late);
    assert_eq!(stopped.await, Ok(Stopped::Idle));
    assert!(begun.elapsed() < Duration::from_millis(8_200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_is_waited_for_up_to_the_limit() {
    let (registry, _tasks) = running(config(QUICK_STOP));
    let _open = registry.open_request();
    let begun = Instant::now();
    assert_eq!(drain(&registry, async {}).await, Stopped::TimedOut(1));
    assert!(begun.elapsed() >= Duration::from_secs(32));
}
