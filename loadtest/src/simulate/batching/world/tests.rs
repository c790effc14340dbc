//! The simulated world against what is known without simulating.

use super::*;
use crate::simulate::batching::{figure::Figure, scenario::Stream};

/// One lane, 10 ms a row and nothing else, a minute; `more` adds keys to the scenario.
fn scenario(more: &str, stream: &str, batch: u32) -> Scenario {
    let text = format!(
        "[[scenario]]\nname = 'x'\nabout = ''\nloads = [0.5]\n{more}\n\
         model = [{{ base = '0s', per_row = '10ms', max_batch_rows = {batch} }}]\nstream = [{{ {stream} }}]\n"
    );
    Scenario::parse(&text).unwrap().remove(0)
}

#[test]
fn without_batching_it_is_the_queue_of_the_textbook() {
    // M/D/1: the mean wait is rho x s / (2 (1 - rho)), the lane is busy for the share rho of the time.
    let scenario = scenario("length = '305s'", "", 1);
    for (load, mean) in [(0.3, 0.010 + 0.3 * 0.010 / 1.4), (0.5, 0.015), (0.8, 0.030)] {
        for rule in [Rule::GreedyFifo, Rule::Weir] {
            let tally = run(&scenario, rule, load, 1).unwrap();
            let (found, busy) = (tally.mean_latency().as_secs_f64(), tally.figure(Figure::Busy, None));
            assert!(
                (found / mean - 1.0).abs() < 0.05,
                "{rule:?} at {load}: mean latency {found}, not {mean}"
            );
            assert!((busy / load - 1.0).abs() < 0.02, "{rule:?} at {load}: busy {busy}");
        }
    }
}

#[test]
fn twice_the_lanes_do_twice_the_work() {
    let scenario = scenario("length = '305s'\nlanes = 2", "", 1);
    let tally = run(&scenario, Rule::GreedyFifo, 0.8, 1).unwrap();
    assert!((tally.figure(Figure::Busy, None) - 0.8).abs() < 0.02);
    // M/D/2 at .8: the mean wait is about 9.2 ms, far from the 20 ms of one lane.
    let wait = tally.mean_latency().as_secs_f64() - 0.010;
    assert!((0.008..0.0105).contains(&wait), "mean wait {wait}");
}

#[test]
fn a_run_is_repeated_exactly_and_another_seed_is_another_run() {
    let scenario = scenario("noise_ratio = 0.05", "deadline = '50ms'", 8);
    let mean = |seed| run(&scenario, Rule::Weir, 1.1, seed).unwrap().mean_latency();
    assert_eq!(mean(1), mean(1));
    assert_ne!(mean(1), mean(2));
}

#[test]
fn every_request_is_answered_refused_or_dropped() {
    let scenario = scenario("", "deadline = '60ms'", 4);
    let rules = [
        Rule::Weir,
        Rule::GreedyFifo,
        Rule::FifoQueueCap,
        Rule::DropExpired,
        Rule::Aimd,
        Rule::NexusEarlyDrop,
        Rule::FifoWindow,
        Rule::DeadlineWindow,
    ];
    for rule in rules {
        let tally = run(&scenario, rule, 1.3, 1).unwrap();
        let (offered, gone) = tally.offered_and_gone();
        assert_eq!(offered, gone, "{rule:?}");
        assert!(offered > 7_000, "{rule:?}: a minute at 130/s");
    }
}

#[test]
fn noise_spreads_batch_times_and_leaves_their_mean() {
    // A request at a time on an almost idle lane: latency is the batch time.
    let mut scenario = scenario("noise_ratio = 0.2", "", 1);
    scenario.length = Duration::from_secs(3_005);
    let tally = run(&scenario, Rule::GreedyFifo, 0.01, 1).unwrap();
    let mean = tally.mean_latency().as_secs_f64();
    let p99 = tally.figure(Figure::LatencyP99, None);
    assert!((mean / 0.010 - 1.0).abs() < 0.02, "mean {mean}");
    // Lognormal with a deviation of .2: the 99th percentile is at exp(2.326 x .198 - .0196) = 1.55.
    assert!((14.5..16.5).contains(&p99), "p99 {p99} ms");
}

#[test]
fn what_is_offered_follows_the_load_and_the_shares() {
    let text = "[[scenario]]\nname = 'x'\nabout = ''\nloads = [1.0]\nlength = '105s'\n\
                model = [{ base = '8ms', per_row = '1ms', max_batch_rows = 32 }, \
                         { base = '0s', per_row = '1ms', max_batch_rows = 10 }]\n\
                stream = [{ name = 'a', share = 0.25, rows = 4 }, { name = 'b', share = 0.75, model = 1 }]";
    let scenario = Scenario::parse(text).unwrap().remove(0);
    let rates: Vec<f64> = scenario.stream.iter().map(|stream| scenario.rate(stream, 2.0)).collect();
    // Half of 800 rows a second in requests of 4; one and a half times 1,000.
    assert_eq!(rates, [100.0, 1_500.0]);
}

#[test]
fn a_share_of_the_load_takes_that_share_of_the_time_whatever_requests_cost() {
    let busy = |scenario: &Scenario| {
        let tally = run(scenario, Rule::Weir, 0.5, 1).unwrap();
        tally.figure(Figure::Busy, None)
    };
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.05;
    let costly = busy(&scenario("", "units_per_row = 3", 1));
    assert!(near(costly, 0.5), "requests of three units: {costly}");
    // Half of the minute at 0.5, half at 0.75.
    let slower = busy(&scenario("slowdown = { at = '35s', ratio = 1.5 }", "", 1));
    assert!(near(slower, 0.625), "slower from the middle on: {slower}");
    let mut buckets = scenario("", "", 1);
    buckets.model[0].bucket_ratios = vec![1.0, 4.0];
    let half = Stream { share: 0.5, ..buckets.stream[0].clone() };
    buckets.stream = vec![half.clone(), Stream { bucket: 1, ..half }];
    let both = busy(&buckets);
    assert!(near(both, 0.5), "half of the load in a bucket that takes four times as long: {both}");
}

#[test]
fn weir_never_mixes_buckets_or_models() {
    let text = "[[scenario]]\nname = 'x'\nabout = ''\nloads = [1.0]\nlength = '7s'\n\
                model = [{ base = '8ms', per_row = '1ms', max_batch_rows = 32, bucket_ratios = [1.0, 1.0] }, \
                         { base = '8ms', per_row = '1ms', max_batch_rows = 32 }]\n\
                stream = [{ share = 0.25 }, { share = 0.25, bucket = 1 }, { share = 0.5, model = 1 }]";
    let scenario = Scenario::parse(text).unwrap().remove(0);
    let mut batcher = Rule::Weir.batcher(&scenario);
    for id in 0..90_u32 {
        let (model, bucket) = [(0, 0), (0, 1), (1, 0)][id as usize % 3];
        let request = Request {
            id: id.into(),
            stream: 0,
            model,
            bucket,
            rows: 1,
            units: 1,
            class: 0,
            arrived: Duration::ZERO,
            deadline: None,
        };
        assert!(matches!(batcher.offer(Duration::ZERO, request), Offer::Queued(_)));
    }
    let mut batches = Vec::new();
    while let Turn::Run(batch) = batcher.next(Duration::ZERO, &mut Vec::new()) {
        batcher.finish(Duration::ZERO, &batch, Duration::from_millis(38));
        batches.push(batch);
    }
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [30, 30, 30]);
    for batch in batches {
        assert!(
            batch.windows(2).all(|pair| (pair[0].model, pair[0].bucket) == (pair[1].model, pair[1].bucket))
        );
    }
}
