//! Batch choice: examples of each rule, and the size of a batch against every other that would be possible.

use proptest::prelude::*;

use super::*;

/// 8 ms + 1 ms a unit: with the margin a batch of n takes 10 ms + 1.25 n.
const COST: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
const NOW: Duration = Duration::from_secs(1);

fn bounds(max_rows: u32) -> Bounds {
    Bounds { now: NOW, cost: COST, max_rows }
}

/// A ticket of some class: rows, units, and the time it has left in ms.
#[derive(Debug, Clone, Copy)]
struct Waits {
    class: u8,
    rows: u32,
    units: u32,
    left_ms: Option<u64>,
}

fn row(left_ms: u64) -> Waits {
    Waits { class: 0, rows: 1, units: 1, left_ms: Some(left_ms) }
}

fn patient() -> Waits {
    Waits { left_ms: None, ..row(0) }
}

/// Ranks with these tickets; the sequence is the position. Without a deadline a ticket stands where one of a second
/// would.
fn ranks(waits: &[Waits]) -> BTreeMap<u8, Rank> {
    let mut ranks = BTreeMap::<u8, Rank>::new();
    for (sequence, wait) in waits.iter().enumerate() {
        let deadline = wait.left_ms.map_or(Duration::MAX, |left| NOW + Duration::from_millis(left));
        let place = (deadline.min(NOW + Duration::from_secs(1)), sequence as u64);
        let weight = Weight { rows: wait.rows, units: wait.units, deadline };
        ranks.entry(wait.class).or_default().insert(place, weight);
    }
    ranks
}

fn chosen(waits: &[Waits], max_rows: u32) -> Vec<u64> {
    let pick = choose(&ranks(waits), &bounds(max_rows));
    assert_eq!(pick.rows, pick.taken.iter().map(|(_, weight)| weight.rows).sum::<u32>());
    assert_eq!(pick.units, pick.taken.iter().map(|(_, weight)| weight.units).sum::<u32>());
    pick.taken.iter().map(|(sequence, _)| *sequence).collect()
}

#[test]
fn all_that_are_in_no_haste_run_together_the_most_urgent_first() {
    assert_eq!(chosen(&[patient(), row(900), row(500)], 32), [2, 1, 0]);
    assert_eq!(chosen(&[patient(), row(900), row(500)], 2), [2, 1], "a batch has room for two");
}

#[test]
fn nothing_is_chosen_from_nothing() {
    assert_eq!(choose(&BTreeMap::new(), &bounds(32)), Pick::default());
}

#[test]
fn one_in_haste_is_left_out_where_more_can_be_done_without_it() {
    // With it two could run: 8 + 2 ms and a quarter are 12.5.
    let waits: Vec<_> = [row(12)].into_iter().chain([row(50); 5]).collect();
    assert_eq!(chosen(&waits, 32), [1, 2, 3, 4, 5]);
}

#[test]
fn one_in_haste_goes_first_where_nothing_is_won_without_it() {
    // 10 + 1.25 x 4 = 15: four can be done by then, with it or without.
    let waits: Vec<_> = [row(15)].into_iter().chain([row(50); 3]).collect();
    assert_eq!(chosen(&waits, 32), [0, 1, 2, 3]);
}

#[test]
fn of_equally_large_batches_the_most_urgent_runs() {
    assert_eq!(chosen(&[row(15), row(16), row(50), row(60), row(70)], 4), [0, 1, 2, 3]);
}

#[test]
fn a_batch_keeps_a_quarter_of_its_time_in_hand() {
    // 8 + 20 ms is in time for 30, but not 25 % more.
    assert_eq!(chosen(&[row(30); 20], 32).len(), 16);
}

#[test]
fn where_nothing_is_in_time_with_the_margin_it_is_tried_without() {
    assert_eq!(chosen(&[row(10), row(11)], 32), [0, 1]);
    assert_eq!(chosen(&[row(9), row(9)], 32), [0]);
}

#[test]
fn where_nothing_at_all_is_in_time_the_first_runs_alone() {
    assert_eq!(chosen(&[row(3), row(2)], 32), [1]);
}

#[test]
fn a_ticket_that_does_not_fit_is_not_overtaken_by_a_smaller_one() {
    let wide = Waits { rows: 3, units: 3, ..row(60) };
    assert_eq!(chosen(&[row(50), row(50), wide, row(70)], 4), [0, 1]);
    assert_eq!(chosen(&[wide, row(70)], 4), [0, 1]);
}

#[test]
fn a_ticket_wider_than_a_batch_runs_alone() {
    let wide = Waits { rows: 9, units: 9, ..patient() };
    assert_eq!(chosen(&[wide, Waits { left_ms: None, ..row(0) }], 4), [0]);
}

#[test]
fn heavy_rows_are_as_welcome_as_light_ones_where_nobody_is_in_haste() {
    let heavy = Waits { units: 500, ..patient() };
    assert_eq!(chosen(&[heavy, patient(), patient()], 4), [0, 1, 2]);
}

#[test]
fn heavy_rows_count_by_what_they_cost() {
    let heavy = Waits { units: 10, ..row(40) };
    // 10 + 1.25 x 24 = 40.
    assert_eq!(chosen(&[heavy; 4], 32), [0, 1]);
}

#[test]
fn the_highest_class_goes_first_and_lower_ones_fill_up_the_rest() {
    let low = Waits { class: 1, ..row(100) };
    assert_eq!(chosen(&[low, row(200), row(200)], 3), [1, 2, 0]);
    assert_eq!(chosen(&[low, row(200), row(200)], 2), [1, 2]);
}

#[test]
fn lower_classes_join_only_as_far_as_nobody_is_late_by_it() {
    let low = Waits { class: 1, ..row(100) };
    // 10 + 1.25 x 3 = 13.75: one more would be too much for the first.
    assert_eq!(chosen(&[row(14), low, low, low], 32), [0, 1, 2]);
    // The lower one in haste cannot wait for a batch of two.
    let hasty = Waits { class: 1, ..row(12) };
    assert_eq!(chosen(&[row(50), hasty], 32), [0]);
}

#[test]
fn a_small_batch_of_the_highest_class_goes_before_a_large_one_of_a_lower() {
    let low = Waits { class: 1, ..row(100) };
    assert_eq!(chosen(&[row(12), low, low, low, low], 32), [0], "10 + 1.25 x 2 is too much for it");
}

#[test]
fn a_cut_leaves_whole_tickets_and_at_least_one() {
    let mut pick = choose(&ranks(&[Waits { rows: 3, units: 3, ..row(50) }, row(60), row(70)]), &bounds(32));
    pick.cut(4);
    assert_eq!((pick.rows, pick.units, pick.taken.len()), (4, 4, 2));
    pick.cut(1);
    assert_eq!((pick.rows, pick.taken.len()), (3, 1));
}

#[test]
fn the_margin_is_a_quarter_and_its_inverse_exact() {
    assert_eq!(with_margin(Duration::from_millis(40)), Duration::from_millis(50));
    assert_eq!(with_margin(Duration::MAX), Duration::MAX);
    for units in [1, 2, 3, 7, 32, 1_000] {
        let end = NOW + with_margin(COST.of(units));
        assert_eq!(affordable(&bounds(32), end, MARGIN_PERCENT), units);
        assert_eq!(affordable(&bounds(32), end - Duration::from_nanos(2), MARGIN_PERCENT), units - 1);
    }
    assert_eq!(affordable(&bounds(32), NOW, 0), 0);
    assert_eq!(affordable(&bounds(32), Duration::MAX, 0), u32::MAX);
}

/// Most rows that can be done together in time, with the margin: tries every time by which they could be done.
fn best(waits: &[Waits], max_rows: usize) -> usize {
    let left = |wait: &Waits| wait.left_ms.map_or(u64::MAX, |left| left * 1_000);
    let fit = |end: &u64| (1..=max_rows).take_while(|rows| 10_000 + 1_250 * *rows as u64 <= *end).count();
    let ends = waits.iter().map(left);
    ends.map(|end| fit(&end).min(waits.iter().filter(|wait| left(wait) >= end).count())).max().unwrap_or(0)
}

fn waits() -> impl Strategy<Value = Vec<Waits>> {
    let one = prop_oneof![8 => (5_u64..70).prop_map(row), 1 => Just(patient())];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #[test]
    fn no_larger_batch_would_be_in_time(waits in waits(), max_rows in 1_u32..34) {
        let taken = chosen(&waits, max_rows);
        let best = best(&waits, max_rows as usize);
        if best > 0 {
            prop_assert_eq!(taken.len(), best);
        }
        let done = Duration::from_micros(10_000 + 1_250 * taken.len() as u64);
        let late = taken.iter().filter(|sequence| {
            waits[**sequence as usize].left_ms.is_some_and(|left| Duration::from_millis(left) < done)
        });
        prop_assert!(best == 0 || late.count() == 0, "a batch with the margin would make somebody late");
    }

    #[test]
    fn whoever_could_have_run_in_the_same_batch_is_overtaken_by_none(waits in waits(), max_rows in 1_u32..34) {
        let ranks = ranks(&waits);
        let pick = choose(&ranks, &bounds(max_rows));
        let order: Vec<_> = ranks[&0].in_order().collect();
        let done = NOW + with_margin(COST.of(pick.units));
        let mut taken = pick.taken.iter().peekable();
        for (sequence, weight) in order {
            if taken.next_if(|(next, _)| *next == sequence).is_none() && taken.peek().is_some() {
                prop_assert!(weight.deadline < done, "ticket {} was passed over for nothing", sequence);
            }
        }
        prop_assert!(taken.next().is_none(), "the batch is not in the order of the queue");
    }

    #[test]
    fn a_batch_is_within_its_bounds_whatever_waits(
        waits in prop::collection::vec((0_u8..3, 1_u32..6, 0_u32..9, prop::option::of(0_u64..80)), 1..30),
        max_rows in 1_u32..20,
    ) {
        let waits: Vec<_> = waits.into_iter()
            .map(|(class, rows, more, left_ms)| Waits { class, rows, units: rows + more, left_ms })
            .collect();
        let ranks = ranks(&waits);
        let pick = choose(&ranks, &bounds(max_rows));
        prop_assert!(!pick.taken.is_empty());
        prop_assert!(pick.rows <= max_rows || pick.taken.len() == 1, "{} rows", pick.rows);
        let mut sequences: Vec<_> = pick.taken.iter().map(|(sequence, _)| *sequence).collect();
        let alone = |wait: &&Waits| wait.left_ms.is_none_or(|left| left >= 8 + u64::from(wait.units));
        let highest = waits.iter().filter(alone).map(|wait| wait.class).min();
        let first = waits[sequences[0] as usize].class;
        prop_assert!(highest.is_none_or(|class| class == first), "the highest class was passed over");
        sequences.sort_unstable();
        sequences.dedup();
        prop_assert_eq!(sequences.len(), pick.taken.len(), "a ticket was taken twice");
        let end = NOW + COST.of(pick.units);
        prop_assert!(pick.taken.len() == 1 || pick.tightest() >= end, "several, and not all in time");
    }
}
