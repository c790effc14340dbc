//! How much is answered in time, and how soon it is known that something will not be.

use std::time::Duration;

use weir_batching::ShapeKey;

use crate::{
    machine::{Outcome, Setup, model},
    traffic::{MAX_ROWS, Stream},
};

fn uniform(load: f64) -> Setup {
    Setup::of(&[Stream::of(load)])
}

/// Share in time, the median of three seeds.
fn good(setup: &Setup) -> f64 {
    let mut good: Vec<_> = (1..4).map(|seed| Setup { seed, ..setup.clone() }.run().good()).collect();
    good.sort_by(f64::total_cmp);
    good[1]
}

#[test]
fn below_saturation_nearly_everything_is_in_time() {
    assert!(good(&uniform(0.3)) > 99.9);
    assert!(good(&uniform(0.8)) > 92.0);
}

#[test]
fn past_saturation_the_share_falls_as_it_must_and_no_more() {
    // Nothing could answer more than 100 / load.
    assert!(good(&uniform(1.1)) > 74.0);
    assert!(good(&uniform(1.5)) > 55.0);
}

#[test]
fn twice_the_requests_never_mean_fewer_answers() {
    let answers = |load: f64| good(&uniform(load)) * load;
    let (some, many, flood) = (answers(1.5), answers(3.0), answers(6.0));
    assert!(some < many && many < flood, "{some} {many} {flood}");
}

#[test]
fn where_batches_take_what_they_should_no_answer_is_late() {
    for load in [0.5, 1.0, 2.0] {
        assert_eq!(uniform(load).run().late(), 0, "load {load}");
    }
}

#[test]
fn the_margin_covers_batches_that_vary() {
    for load in [0.8, 1.5] {
        let machine = Setup { noise: 0.05, ..uniform(load) }.run();
        assert!(machine.late() * 1_000 < machine.records.len(), "{} late", machine.late());
    }
}

#[test]
fn refusals_come_soon() {
    let p99 = uniform(1.5).run().refusals_p99();
    assert!(p99 < Duration::from_millis(20), "{p99:?}");
    let patient = Setup::of(&[Stream { patience_ms: Some(300), ..Stream::of(1.5) }]).run().refusals_p99();
    assert!(patient < Duration::from_millis(60), "a fifth of the time that clients give: {patient:?}");
}

#[test]
fn a_flood_is_refused_at_the_door() {
    let machine = uniform(6.0).run();
    let told = |of: fn(&Outcome) -> bool| {
        machine.records.iter().filter_map(|record| record.outcome).filter(of).count()
    };
    let refused = told(|outcome| *outcome == Outcome::Refused);
    let dropped = told(|outcome| matches!(outcome, Outcome::Dropped(..)));
    assert!(refused > 5 * dropped, "{refused} at the door, {dropped} from the queue");
}

#[test]
fn clients_with_more_time_are_answered_first_when_not_all_can_be() {
    let streams = [Stream::of(0.75), Stream { patience_ms: Some(300), ..Stream::of(0.75) }];
    let machine = Setup::of(&streams).run();
    assert!(machine.good() > 60.0, "{}", machine.good());
    assert!(machine.good_of(&[1], 1_000, 6_000) > 99.0, "full batches of the patient are possible");
}

#[test]
fn clients_with_much_time_fill_batches() {
    let machine = Setup::of(&[Stream { patience_ms: Some(500), ..Stream::of(1.5) }]).run();
    assert!(machine.good() > 64.0, "of 66.7 possible: {}", machine.good());
    let full = machine.batches.iter().filter(|rows| **rows == MAX_ROWS).count();
    assert!(full * 10 > machine.batches.len() * 9, "{full} of {} were full", machine.batches.len());
}

#[test]
fn two_lanes_answer_at_least_the_same_share_of_twice_the_load() {
    let one = good(&uniform(1.5));
    let two = good(&Setup { lanes: 2, ..Setup::of(&[Stream::of(3.0)]) });
    assert!(two > one - 1.0, "{two} of twice as much, {one}");
}

#[test]
fn wide_requests_are_answered_too() {
    let wide = Stream { rows: 8, ..Stream::of(0.75) };
    let machine = Setup::of(&[Stream::of(0.75), wide]).run();
    assert!(machine.good_of(&[0], 1_000, 6_000) > 50.0);
    assert!(machine.good_of(&[1], 1_000, 6_000) > 45.0);
}

#[test]
fn a_bound_on_useful_rows_costs_little() {
    let bound = |useful_rows| Setup {
        models: vec![weir_batching::QueueSettings { useful_rows, ..model() }],
        ..uniform(1.5)
    };
    let (free, bound) = (good(&bound(vec![])), good(&bound(vec![(ShapeKey::default(), 21)])));
    assert!(bound > free - 2.0, "{bound} with the bound, {free} without");
}

#[test]
fn without_deadlines_nothing_is_refused_until_the_queue_is_full() {
    let patient = Stream { patience_ms: None, ..Stream::of(0.95) };
    let machine = Setup::of(&[patient]).run();
    assert!((machine.good() - 100.0).abs() < 1e-9);
    let flood = Setup::of(&[Stream { load: 3.0, ..patient }]).run();
    assert_eq!(flood.most_queued, 1_024);
    assert!(flood.good() > 30.0, "{}", flood.good());
    let told = flood.records.iter().filter_map(|record| record.outcome);
    assert!(told.clone().all(|outcome| !matches!(outcome, Outcome::Dropped(..))));
    assert!(told.clone().any(|outcome| outcome == Outcome::Refused));
}

#[test]
fn every_request_is_told_and_the_device_is_empty_afterwards() {
    let machine = uniform(1.5).run();
    assert!(machine.records.iter().all(|record| record.outcome.is_some()));
    let view = machine.device.view(machine.queues[0]);
    assert_eq!((view.queued_rows, view.running), (0, 0));
    let admitted = machine.records.iter().filter(|record| record.outcome != Some(Outcome::Refused)).count();
    assert_eq!(view.arrivals, admitted as u64);
    let quote = machine.device.quote(Duration::from_secs(60), machine.queues[0]).unwrap();
    assert_eq!(quote.quote, quote.floor, "an idle device quotes what a request takes alone");
}
