//! When a machine is not what warm-up measured: costs that are wrong, that change, and that nothing is known of.

use std::time::Duration;

use weir_batching::QueueSettings;

use crate::{
    machine::{Setup, model},
    traffic::{COST, Stream},
};

fn with_costs(factor: Option<f64>, load: f64) -> Setup {
    let mut costs = model().costs;
    match factor {
        Some(factor) => costs[0].1 = COST.scaled(factor),
        None => costs.clear(),
    }
    Setup { models: vec![QueueSettings { costs, ..model() }], ..Setup::of(&[Stream::of(load)]) }
}

#[test]
fn a_cost_that_is_a_fifth_too_low_loses_next_to_nothing() {
    let (right, low) = (with_costs(Some(1.0), 1.5).run(), with_costs(Some(0.8), 1.5).run());
    assert!(low.good() > right.good() - 1.0, "{} of {}", low.good(), right.good());
    assert!(low.late() < 100, "{} late before it was learned", low.late());
}

#[test]
fn a_cost_that_is_far_too_high_is_found_out() {
    // Believed to take 36 ms alone, and 160 ms in full batches.
    let machine = with_costs(Some(4.0), 0.8).run();
    assert!(machine.good() > 92.0, "{}", machine.good());
}

#[test]
fn costs_that_let_nobody_in_are_found_out_by_those_that_are_tried() {
    // Believed to take 36 ms alone, where clients wait for 30.
    let mut setup = with_costs(Some(4.0), 0.3);
    setup.streams = vec![Stream { patience_ms: Some(30), ..Stream::of(0.3) }];
    let machine = setup.run();
    let right = Setup { models: vec![model()], ..setup.clone() }.run();
    assert!(machine.good_of(&[], 0, 1_000) < right.good_of(&[], 0, 1_000), "it did have to be found out");
    assert!(machine.good_of(&[], 5_000, 6_000) > right.good_of(&[], 5_000, 6_000) - 3.0);
}

#[test]
fn costs_that_nobody_measured_are_learned_from_the_first_batches() {
    let machine = with_costs(None, 1.5).run();
    assert!(machine.good() > 55.0, "{}", machine.good());
}

#[test]
fn a_machine_that_is_slow_for_a_while_recovers() {
    fn slow_for_a_second(now: Duration) -> f64 {
        if (2..3).contains(&now.as_secs()) { 3.0 } else { 1.0 }
    }
    let machine = Setup { slower: slow_for_a_second, ..with_costs(Some(1.0), 0.5) }.run();
    assert!(machine.good_of(&[], 1_000, 1_900) > 99.0);
    assert!(machine.good_of(&[], 2_000, 3_000) < 60.0, "so that there is something to recover from");
    assert!(machine.good_of(&[], 3_300, 6_000) > 98.0, "{}", machine.good_of(&[], 3_300, 6_000));
}

#[test]
fn one_batch_that_hangs_spoils_what_waits_for_it_and_nothing_later() {
    fn hangs_once(now: Duration) -> f64 {
        if (2_000..2_030).contains(&now.as_millis()) { 20.0 } else { 1.0 }
    }
    let machine = Setup { slower: hangs_once, ..with_costs(Some(1.0), 0.5) }.run();
    assert!(machine.good_of(&[], 3_200, 6_000) > 98.0, "{}", machine.good_of(&[], 3_200, 6_000));
}
