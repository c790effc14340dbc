//! What is known of a bucket's cost after which batches.

use proptest::prelude::*;

use super::*;

fn shape(sizes: &[u64]) -> ShapeKey {
    ShapeKey(sizes.into())
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const SEED: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };

/// What a batch takes in these tests: `base` + `per_unit` n, in microseconds.
fn took(base: u64, per_unit: u64, units: u32) -> Duration {
    us(base + per_unit * u64::from(units))
}

fn close(cost: BatchCost, base: u64, per_unit: u64) -> bool {
    let near = |is: Duration, wanted: u64| is.abs_diff(us(wanted)) <= us(wanted) / 100 + us(2);
    near(cost.base, base) && near(cost.per_unit, per_unit)
}

/// Runs a batch of every size three times.
fn learn(costs: &mut Costs, key: &ShapeKey, (base, per_unit): (u64, u64), sizes: &[u32]) {
    for units in sizes {
        for _ in 0..3 {
            costs.observe(us(1), key, *units, took(base, per_unit, *units));
        }
    }
}

#[test]
fn a_bucket_that_warm_up_measured_costs_its_line_times_the_scale() {
    let key = shape(&[]);
    let mut costs = Costs::new(&[(key.clone(), SEED)]);
    assert_eq!(costs.of(&key), SEED);
    for _ in 0..60 {
        costs.observe(us(1), &key, 8, SEED.of(8) * 3);
    }
    assert!((costs.scale() - 3.0).abs() < 0.01, "{}", costs.scale());
    assert!(close(costs.of(&key), 24_000, 3_000));
    assert_eq!(costs.lines().collect::<Vec<_>>(), [(&key, SEED)], "the line itself stays");
}

#[test]
fn drift_seen_in_one_bucket_holds_for_all_of_the_queue() {
    let (short, long) = (shape(&[16]), shape(&[64]));
    let mut costs = Costs::new(&[(short.clone(), SEED), (long.clone(), SEED.scaled(4.0))]);
    costs.observe(us(1), &short, 4, SEED.of(4) * 2);
    assert!(close(costs.of(&long), 4 * 9_600, 4 * 1_200));
}

#[test]
fn a_bucket_that_nothing_is_known_of_is_tried() {
    let costs = Costs::new(&[]);
    assert_eq!(costs.of(&shape(&[3])), UNKNOWN);
}

#[test]
fn an_unknown_bucket_is_guessed_from_the_one_most_like_it() {
    let costs = Costs::new(&[(shape(&[16]), SEED), (shape(&[128]), SEED.scaled(10.0))]);
    assert!(close(costs.of(&shape(&[32])), 8_000, 2_000), "twice the elements of the first");
    assert!(close(costs.of(&shape(&[64])), 80_000, 5_000), "half of those of the second");
    assert!(close(costs.of(&shape(&[4, 8])), 8_000, 2_000), "other ranks by their elements");
}

#[test]
fn a_bucket_is_learned_from_its_first_batches() {
    let key = shape(&[7]);
    let mut costs = Costs::new(&[]);
    costs.observe(us(1), &key, 4, took(500, 50, 4));
    costs.observe(us(1), &key, 4, took(500, 50, 4));
    assert_eq!(costs.of(&key), UNKNOWN, "two passes are not enough");
    learn(&mut costs, &key, (500, 50), &[4, 1, 16]);
    assert!(close(costs.of(&key), 500, 50), "{:?}", costs.of(&key));
    assert!((costs.scale() - 1.0).abs() < 1e-9);
}

#[test]
fn slow_first_passes_do_not_count() {
    let key = shape(&[7]);
    let mut costs = Costs::new(&[]);
    for units in [1, 32] {
        costs.observe(us(1), &key, units, took(500, 50, units) * 40);
        costs.observe(us(1), &key, units, took(500, 50, units) * 7);
        costs.observe(us(1), &key, units, took(500, 50, units));
    }
    assert!(close(costs.of(&key), 500, 50), "{:?}", costs.of(&key));
}

#[test]
fn one_size_alone_is_taken_for_half_fixed_until_another_is_seen() {
    let key = shape(&[7]);
    let mut costs = Costs::new(&[]);
    learn(&mut costs, &key, (0, 1_000), &[8]);
    assert!(close(costs.of(&key), 4_000, 500));
    learn(&mut costs, &key, (0, 1_000), &[1]);
    assert!(close(costs.of(&key), 1, 1_000));
}

#[test]
fn drift_after_learning_moves_the_scale_and_not_the_line() {
    let key = shape(&[7]);
    let mut costs = Costs::new(&[]);
    learn(&mut costs, &key, (500, 50), &[1, 16]);
    for _ in 0..60 {
        costs.observe(us(1), &key, 16, took(500, 50, 16) * 2);
    }
    assert!((costs.scale() - 2.0).abs() < 0.01);
    // A size that was not seen before runs at the same scale: its line does not count the drift twice.
    for _ in 0..3 {
        costs.observe(us(1), &key, 64, took(500, 50, 64) * 2);
    }
    assert!(close(costs.of(&key), 1_000, 100), "{:?}", costs.of(&key));
}

#[test]
fn of_more_buckets_than_are_kept_the_longest_unused_is_forgotten() {
    let mut costs = Costs::new(&[(shape(&[]), SEED)]);
    let key = |n: usize| shape(&[n as u64 + 1]);
    for n in 0..MOST_LEARNED {
        learn(&mut costs, &key(n), (500, 50), &[1]);
    }
    // Used again, so that the second one is now the oldest.
    costs.observe(us(1), &key(0), 1, took(500, 50, 1));
    learn(&mut costs, &key(MOST_LEARNED), (500, 50), &[1]);
    let known: Vec<_> = costs.lines().map(|(shape, _)| shape.clone()).collect();
    assert_eq!(known.len(), MOST_LEARNED + 1, "the measured one is not among those that are bounded");
    assert!(known.contains(&key(0)) && known.contains(&key(MOST_LEARNED)));
    assert!(!known.contains(&key(1)));
}

#[test]
fn the_smallest_bucket_is_the_one_with_the_fewest_elements() {
    let seeds = [[2, 100], [4, 8], [16, 16]].map(|sizes| (shape(&sizes), SEED));
    let mut costs = Costs::new(&seeds);
    assert_eq!(costs.smallest(), Some(&shape(&[4, 8])));
    learn(&mut costs, &shape(&[3, 3]), (500, 50), &[1]);
    assert_eq!(costs.smallest(), Some(&shape(&[3, 3])));
    assert_eq!(Costs::new(&[]).smallest(), None);
}

#[test]
fn costs_are_stale_until_a_batch_was_measured_and_a_second_after_the_last() {
    let mut costs = Costs::new(&[(shape(&[]), SEED)]);
    assert!(costs.stale(Duration::ZERO), "warm-up may have been wrong, too");
    costs.observe(us(5), &shape(&[]), 1, SEED.of(1));
    assert!(!costs.stale(us(5) + STALE - us(1)));
    assert!(costs.stale(us(5) + STALE));
}

proptest! {
    #[test]
    fn whatever_is_observed_costs_stay_finite_and_few(
        seeded in any::<bool>(),
        batches in prop::collection::vec((0_u64..100, any::<u32>(), any::<u64>()), 1..400),
    ) {
        let seeds = [(shape(&[5]), SEED)];
        let mut costs = Costs::new(if seeded { &seeds } else { &[] });
        for (size, units, nanos) in batches {
            let took = if nanos == u64::MAX { Duration::MAX } else { Duration::from_nanos(nanos) };
            costs.observe(us(1), &shape(&[size]), units, took);
            prop_assert!((0.25..=20.0).contains(&costs.scale()));
            prop_assert!(costs.lines().count() <= MOST_LEARNED + 1);
            let cost = costs.of(&shape(&[size]));
            prop_assert!(cost.of(u32::MAX) >= cost.of(1));
        }
    }
}
