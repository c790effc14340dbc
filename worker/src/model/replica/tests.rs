//! Counters that come back, and events that are ignored.

use weir_protocol::Lifecycle;

use super::*;

fn replica() -> Arc<Replica> {
    let name = ("m".parse().unwrap(), Version::new(1).unwrap());
    Arc::new(Replica::new(4, name, (Bytes(9), 8), &Telemetry::new()))
}

fn serving() -> Arc<Replica> {
    let replica = replica();
    let queue = Arc::new(crate::lanes::tests::idle());
    for event in [Event::Load, Event::WarmUp, Event::Serve(queue)] {
        replica.advance(event);
    }
    replica
}

#[test]
fn memory_is_that_of_what_is_loaded() {
    assert_eq!((replica().memory(), serving().memory()), (Bytes(0), Bytes(9)));
}

#[test]
fn requests_are_counted_in_and_out() {
    let replica = serving();
    let guards = [replica.begin().unwrap(), replica.begin().unwrap()];
    assert_eq!((replica.load().in_flight, replica.load().arrivals), (2, 2));
    drop(guards);
    assert_eq!((replica.load().in_flight, replica.load().arrivals), (0, 2));
}

#[test]
fn a_version_that_does_not_serve_lets_nobody_in() {
    let replica = serving();
    let inside = replica.begin().unwrap();
    replica.advance(Event::Drain);
    assert!(replica.begin().is_none());
    assert_eq!((replica.load().in_flight, replica.load().arrivals), (1, 1));
    assert!(!replica.wait_idle(Duration::ZERO), "one is still inside");
    let waiting = Arc::clone(&replica);
    let waiting = std::thread::spawn(move || waiting.wait_idle(Duration::from_secs(60)));
    drop(inside);
    assert!(waiting.join().unwrap());
}

#[test]
fn an_event_that_is_not_legal_changes_nothing() {
    let replica = replica();
    replica.advance(Event::WarmUp);
    replica.advance(Event::Drain);
    assert_eq!(replica.load().state, Lifecycle::Absent);
    replica.advance(Event::Fail("no luck".to_owned()));
    replica.advance(Event::WarmUp);
    let load = replica.load();
    assert_eq!((load.state, load.reason.as_deref()), (Lifecycle::Failed, Some("no luck")));
}

#[test]
fn the_report_shows_what_model_toml_allows_until_warm_up_knows_better() {
    let replica = replica();
    assert_eq!((replica.load().id, replica.load().size, replica.load().max_batch_size), (4, Bytes(9), 8));
    replica.describe(Bytes(10), 16);
    assert_eq!((replica.load().size, replica.load().max_batch_size), (Bytes(10), 16));
    assert_eq!(serving().load().max_batch_size, 4);
}
