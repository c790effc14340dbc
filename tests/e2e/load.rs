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
    };
    Run::start(plan).unwrap()
}

/// Waits until `count` more requests have been due.
pub(crate) async fn more(run: &Run, count: u64) {
    run.due(run.progress().due + count).await;
}

/// Fails when a request that was sent got no well-formed answer. One that was due while all connections were in use was
/// not sent: on a machine that is too slow for the rate that is nobody's loss.
#[track_caller]
pub(crate) fn none_lost(report: &Report) {
    assert!(report.lost == report.not_sent && report.ok >= 20, "{report}");
}
