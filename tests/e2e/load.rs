//! Background load for tests: open-loop, no retries, every answer checked.

use std::time::Duration;

use weir_loadtest::{Call, Encoding, InputSpec, Payload, Plan, Process, Report, Run, Schedule};
use weir_tests::Client;

/// More requests than any test waits for: a test stops its load itself.
const ENDLESS: u64 = 1_000_000;

/// A load on model `m` at `rate` requests a second, until it is stopped.
pub(crate) fn start(client: Client, rate: f64) -> Run {
    let input: InputSpec = "x:FP32:1x4".parse().unwrap();
    let call = Call::of("m".parse().unwrap());
    let plan = Plan {
        target: client.address().into(),
        payload: Payload::random(call, &[input], Encoding::Json, 1).unwrap(),
        schedule: Schedule::new(Process::Poisson, rate, ENDLESS, 1).unwrap(),
        connections: 512,
        timeout: Duration::from_secs(30),
        deadline: None,
    };
    Run::start(plan).unwrap()
}

/// Waits until `count` more requests have been due.
pub(crate) async fn more(run: &Run, count: u64) {
    run.due(run.progress().due + count).await;
}

/// Fails when a request that was sent got no well-formed answer, or more than one in twenty was not sent. One that is due
/// while all connections are in use is not: a slow machine may stumble for a moment, but a fleet that stalls shows here.
#[track_caller]
pub(crate) fn none_lost(report: &Report) {
    assert!(nearly_all(report.requests, report.ok, report.not_sent), "{report}");
}

/// Whether every request that was sent is `ok`, and these are at least 20 and 95 % of those due.
fn nearly_all(due: u64, ok: u64, not_sent: u64) -> bool {
    ok + not_sent == due && ok >= 20 && not_sent * 20 <= due
}

#[test]
fn a_stalled_fleet_is_no_fleet_that_loses_nothing() {
    let loads = [
        ((100, 100, 0), true),
        ((100, 95, 5), true),
        ((100, 94, 6), false),
        ((1_000, 20, 980), false),
        ((100, 99, 0), false),
        ((19, 19, 0), false),
    ];
    for ((due, ok, not_sent), expected) in loads {
        assert_eq!(nearly_all(due, ok, not_sent), expected, "{ok} of {due}, {not_sent} not sent");
    }
}
