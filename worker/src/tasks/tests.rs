//! Tasks that end, panic, or do not end.

use tokio::sync::oneshot::channel;

use super::*;

#[tokio::test]
async fn a_panic_ends_its_own_task_only() {
    let tasks = Tasks::default();
    let (sender, receiver) = channel();
    tasks.spawn("panics", async { panic!("scripted") });
    tasks.spawn("answers", async move { _ = sender.send(7) });
    assert_eq!(receiver.await, Ok(7));
    assert!(tasks.wait(Duration::from_secs(60)).await);
    assert_eq!(tasks.running(), 0);
}

#[tokio::test]
async fn waiting_gives_up_on_a_task_that_does_not_end() {
    let tasks = Tasks::default();
    let (sender, receiver) = channel::<()>();
    tasks.spawn("waits", async move { _ = receiver.await });
    assert!(!tasks.wait(Duration::from_millis(1)).await);
    assert_eq!(tasks.running(), 1);
    drop(sender);
    assert!(tasks.wait(Duration::from_secs(60)).await);
}
