//! Who gets how much: classes, models that share a device, and those who came first.

use std::time::Duration;

use weir_batching::QueueSettings;

use crate::{
    machine::{Outcome, Setup, model},
    traffic::Stream,
};

fn patient(model: usize, load: f64) -> Stream {
    Stream { model, patience_ms: Some(400), ..Stream::of(load) }
}

/// Models on one lane.
fn models(count: usize, streams: &[Stream]) -> Setup {
    Setup { models: vec![model(); count], ..Setup::of(streams) }
}

#[test]
fn the_urgent_are_in_time_and_others_get_what_is_left() {
    let streams = [Stream::of(0.45), Stream { class: 1, ..Stream::of(1.05) }];
    let machine = Setup::of(&streams).run();
    assert!(machine.good_of(&[0], 1_000, 6_000) > 97.0);
    assert!(machine.good_of(&[1], 1_000, 6_000) > 25.0);
}

#[test]
fn a_flood_of_the_urgent_does_not_starve_the_patient() {
    let low = Stream { class: 2, patience_ms: None, ..Stream::of(0.05) };
    let streams = [Stream { patience_ms: Some(400), ..Stream::of(2.0) }, low];
    let machine = Setup::of(&streams).run();
    let waited =
        machine.records.iter().filter(|record| record.stream == 1).map(|record| match record.outcome {
            Some(Outcome::Answered(at)) => at - record.arrived,
            other => panic!("{other:?}"),
        });
    // Three ageings of a second, and what was ahead of it then.
    let longest = waited.max().unwrap();
    assert!(longest < Duration::from_millis(3_500), "{longest:?}");
    assert!(longest > Duration::from_millis(1_000), "it did have to wait: {longest:?}");
}

#[test]
fn models_with_equal_loads_get_equal_shares() {
    let machine = models(2, &[patient(0, 0.8), patient(1, 0.8)]).run();
    let shares = [0, 1].map(|stream| machine.good_of(&[stream], 1_000, 6_000));
    assert!((shares[0] - shares[1]).abs() < 5.0, "{shares:?}");
    assert!(shares[0] > 50.0, "of 62 possible: {shares:?}");
}

#[test]
fn a_flooded_model_with_less_time_sheds_its_own_requests() {
    let share = |flood| {
        let neighbour = Stream { patience_ms: Some(100), ..patient(1, flood) };
        models(2, &[patient(0, 0.2), neighbour]).run().good_of(&[0], 1_000, 6_000)
    };
    let (quiet, flooded) = (share(0.2), share(3.0));
    assert!(quiet > 99.9 && flooded > 99.0, "{quiet} beside little, {flooded} beside a flood");
}

#[test]
fn many_models_on_few_lanes_are_all_served() {
    let streams: Vec<_> = (0..40).map(|model| patient(model, 0.01)).collect();
    let machine = Setup { lanes: 2, ..models(40, &streams) }.run();
    for stream in 0..40 {
        let good = machine.good_of(&[stream], 0, 6_000);
        assert!(good > 85.0, "model {stream}: {good}");
    }
}

#[test]
fn a_model_that_is_kept_to_one_lane_leaves_the_other_to_its_neighbour() {
    let kept = QueueSettings { lanes: 1, ..model() };
    let streams = [patient(0, 3.0), Stream { model: 1, patience_ms: Some(40), ..Stream::of(0.03) }];
    let machine = Setup { lanes: 2, models: vec![kept, model()], ..Setup::of(&streams) }.run();
    let good = machine.good_of(&[1], 1_000, 6_000);
    assert!(good > 99.0, "a lane is always free for it: {good}");
    let free = Setup { lanes: 2, models: vec![model(), model()], ..Setup::of(&streams) }.run();
    let good = free.good_of(&[1], 1_000, 6_000);
    assert!(good < 90.0, "so that the test can fail: {good}");
}
