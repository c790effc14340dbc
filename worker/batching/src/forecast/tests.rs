//! What is foreseen, one rule each, with batches of 8 ms + 1 ms a unit and at most 32 rows.

use proptest::prelude::*;

use super::*;

const COST: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
/// One row, and nothing else comes.
const QUIET: Outlook =
    Outlook { cost: COST, max_rows: 32.0, rows: 1.0, units_per_row: 1.0, rate_above: 0.0, rate: 0.0 };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Lanes that are busy for so many ms.
fn lanes(busy: &[u64]) -> Starts {
    Starts::new(busy.len() as u32, busy.iter().map(|left| ms(*left)))
}

/// The least slack in ms with which a request gets in.
fn least(outlook: Outlook, starts: &Starts, before: f64, waiting: f64) -> u64 {
    (0..10_000).find(|slack| outlook.in_time(starts.clone(), before, waiting, ms(*slack))).unwrap()
}

#[test]
fn lanes_that_are_not_busy_are_free_now() {
    assert_eq!(Starts::new(3, [ms(5), ms(9)].into_iter()).first(), ms(0));
    assert_eq!(Starts::new(2, [ms(5), ms(9)].into_iter()).first(), ms(5));
    assert_eq!(Starts::new(1, [ms(5), ms(9)].into_iter()).first(), ms(9), "the other is not for it");
    assert_eq!(Starts::new(0, std::iter::empty()).first(), ms(0), "there is always a lane");
}

#[test]
fn batches_that_go_first_take_the_lanes_that_are_free_first() {
    let mut starts = lanes(&[5, 9]);
    starts.run(1, ms(20));
    assert_eq!(starts.first(), ms(9));
    starts.run(1, ms(20));
    assert_eq!(starts.first(), ms(25));
    starts.run(5, ms(10));
    assert_eq!(starts.first(), ms(49), "25+10+10, 29+10+10+10");
}

#[test]
fn lanes_can_be_later_than_they_are_free() {
    assert_eq!(lanes(&[5, 9]).delayed(ms(20)).first(), ms(25));
    assert_eq!(lanes(&[5, 9]).not_before(ms(7)).first(), ms(7));
}

#[test]
fn a_request_that_would_run_next_and_soon_gets_in_whenever_it_can_be_met_alone() {
    // 4 ms until the lane is free, and 9 ms: 13, though 32 others would share its batch.
    assert_eq!(least(QUIET, &lanes(&[4]), 0.0, 31.0), 16, "4 ms are a quarter of 16");
    assert_eq!(least(QUIET, &lanes(&[3]), 0.0, 31.0), 12);
}

#[test]
fn a_request_whose_batch_is_late_must_have_time_for_its_company() {
    // The lane is free in 20; a batch of 11 with the margin takes 23.75.
    assert_eq!(least(QUIET, &lanes(&[20]), 10.0, 10.0), 44);
    // Without company: 20 + 11.25.
    assert_eq!(least(QUIET, &lanes(&[20]), 0.0, 0.0), 32);
}

#[test]
fn a_batch_that_leaves_it_out_may_be_followed_by_one_in_time() {
    // Its batch would have 31 rows: 20 + 48.75. Left out of that, it runs after it: 20 + 38 + 11.25.
    assert_eq!(least(QUIET, &lanes(&[20]), 0.0, 30.0), 69);
    // On a second lane it need not wait for that batch: 30 + 11.25.
    assert_eq!(least(QUIET, &lanes(&[20, 30]), 0.0, 30.0), 42);
}

#[test]
fn full_batches_ahead_run_first() {
    // Two of 40 ms on one lane, or one on each of two; each counts for 60.
    assert_eq!(least(QUIET, &lanes(&[10]), 64.0, 64.0), 142, "10 + 120 + 11.25");
    assert_eq!(least(QUIET, &lanes(&[10, 10]), 64.0, 64.0), 82);
}

#[test]
fn the_last_rows_of_a_wide_request_count() {
    let wide = Outlook { rows: 70.0, ..QUIET };
    // Two batches of 40 and one of 32 rows at the most: the request of 70 is taken for three.
    assert!(!wide.in_time(lanes(&[10]), 0.0, 0.0, ms(129)));
    assert!(wide.in_time(lanes(&[10]), 0.0, 0.0, ms(180)));
}

#[test]
fn arrivals_count_less_the_doubt_in_them() {
    // 64 ms at 1 a ms: 64 are expected and 64 - 0.75 x 8 = 58 counted on.
    let busy = Outlook { rate: 1_000.0, ..QUIET };
    assert!((busy.come(busy.rate, ms(64)) - 58.0).abs() < 1e-9);
    // In requests of four rows the doubt is twice as large.
    let wide = Outlook { rows: 4.0, ..busy };
    assert!((wide.come(wide.rate, ms(64)) - 52.0).abs() < 1e-9);
    assert!(busy.come(100.0, ms(1)).abs() < 1e-9, "too few to be sure of any");
}

#[test]
fn company_that_is_still_to_come_counts() {
    // In 20 ms 20 are expected and 16.6 counted on: 20 + 1.25 x 25.6 = 52.06.
    let busy = Outlook { rate: 1_000.0, ..QUIET };
    assert_eq!(least(busy, &lanes(&[20]), 0.0, 0.0), 53);
}

#[test]
fn higher_classes_that_are_still_to_come_go_first() {
    // In 64 ms 58 of a higher class: a full batch goes first, 64 + 40, then it has 26 of them for company: 104 + 43.75.
    let low = Outlook { rate_above: 1_000.0, rate: 1_000.0, ..QUIET };
    let slack = least(low, &lanes(&[64]), 0.0, 0.0);
    assert!(slack > 104 + 11, "{slack}");
    let high = Outlook { rate_above: 0.0, ..low };
    assert!(least(high, &lanes(&[64]), 0.0, 0.0) < slack);
}

#[test]
fn who_waits_with_many_in_less_haste_is_overtaken() {
    // 20 + 1.25 x (8 + n).
    let overtaken = |waiting, slack| QUIET.overtaken(&lanes(&[20]), waiting, ms(slack));
    assert!(!overtaken(1.0, 32) && overtaken(1.0, 31));
    assert!(!overtaken(20.0, 55) && overtaken(20.0, 54));
    assert!(!overtaken(500.0, 70), "a batch has at most 32 rows");
    assert_eq!(QUIET.ample(&lanes(&[20])), ms(70));
}

fn outlook() -> impl Strategy<Value = Outlook> {
    (1_u32..64, 1_u32..40, 0.5..4.0, 0.0..3_000.0, 0.0..1.0).prop_map(|(max, rows, units, rate, above)| {
        Outlook {
            max_rows: f64::from(max),
            rows: f64::from(rows),
            units_per_row: units,
            rate_above: rate * above,
            rate,
            cost: COST,
        }
    })
}

proptest! {
    #[test]
    fn more_time_never_keeps_a_request_out(
        outlook in outlook(), busy in prop::collection::vec(0_u64..100, 1..4),
        before in 0_u32..100, more in 0_u32..100, slack in 0_u64..400, longer in 0_u64..400,
    ) {
        let (before, waiting) = (f64::from(before), f64::from(before + more));
        let admits = |slack| outlook.in_time(lanes(&busy), before, waiting, ms(slack));
        prop_assert!(!admits(slack) || admits(slack + longer));
    }

    #[test]
    fn what_gets_in_could_at_least_be_met_alone(
        outlook in outlook(), busy in prop::collection::vec(0_u64..100, 1..4),
        before in 0_u32..100, slack in 0_u64..400,
    ) {
        let before = f64::from(before);
        let alone = lanes(&busy).first() + COST.of_mean(outlook.rows.min(outlook.max_rows) * outlook.units_per_row);
        prop_assert!(!outlook.in_time(lanes(&busy), before, before, ms(slack)) || alone <= ms(slack));
    }

    #[test]
    fn nobody_with_ample_slack_is_overtaken(
        outlook in outlook(), busy in prop::collection::vec(0_u64..100, 1..4), waiting in 0_u32..500,
    ) {
        let starts = lanes(&busy);
        prop_assert!(!outlook.overtaken(&starts, f64::from(waiting), outlook.ample(&starts)));
    }

    #[test]
    fn many_batches_ahead_are_as_good_as_one_at_a_time(
        busy in prop::collection::vec(0_u64..100, 1..5), batches in 0_u64..60, each in 1_u64..50,
    ) {
        // Lanes that differ by no more than a batch take turns.
        let busy: Vec<_> = busy.into_iter().map(|left| left % each).collect();
        let (mut together, mut single) = (lanes(&busy), lanes(&busy));
        together.run(batches, ms(each));
        for _ in 0..batches {
            single.run(1, ms(each));
        }
        prop_assert_eq!(together.first(), single.first());
    }
}
