//! The order of a bucket: deadlines, classes, ageing, and its books.

use std::{cell::Cell, rc::Rc};

use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience { delay: Duration::from_millis(10), ageing: Duration::from_millis(100) };
const COST: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };

#[derive(Debug, Clone, Default)]
struct Job(Rc<Cell<bool>>);

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.0.get()
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn ticket(class: u8, deadline: Option<u64>) -> Ticket<Job> {
    let shape = ShapeKey::default();
    Ticket { rows: 1, units: 1, shape, class, deadline: deadline.map(ms), payload: Job::default() }
}

fn line(tickets: &[(u64, u8, Option<u64>)]) -> Line<Job> {
    let mut line = Line::new(ShapeKey::default());
    for (sequence, (arrived, class, deadline)) in tickets.iter().enumerate() {
        line.push(ms(*arrived), sequence as u64, PATIENCE, ticket(*class, *deadline));
    }
    line
}

/// Sequences in the order in which they should run.
fn order(line: &Line<Job>) -> Vec<u64> {
    line.ranks().values().flat_map(Rank::in_order).map(|(sequence, _)| sequence).collect()
}

#[test]
fn the_earliest_deadline_goes_first_and_equals_as_they_came() {
    let line = line(&[(0, 0, Some(80)), (0, 0, Some(50)), (1, 0, Some(80)), (2, 0, Some(20))]);
    assert_eq!(order(&line), [3, 1, 0, 2]);
    assert_eq!(line.oldest(), Some((ms(0), 0)));
}

#[test]
fn a_ticket_without_a_deadline_goes_before_all_that_come_an_ageing_later() {
    let line = line(&[(0, 0, None), (40, 0, Some(90)), (60, 0, Some(110)), (101, 0, Some(102))]);
    assert_eq!(order(&line), [1, 0, 3, 2]);
}

#[test]
fn a_deadline_far_off_counts_as_none() {
    let line = line(&[(0, 0, Some(60_000)), (0, 0, None), (0, 0, Some(99))]);
    assert_eq!(order(&line), [2, 0, 1]);
}

#[test]
fn a_lower_class_goes_after_all_of_a_higher() {
    let line = line(&[(0, 2, Some(10)), (0, 1, Some(20)), (0, 0, None)]);
    assert_eq!(order(&line), [2, 1, 0]);
}

#[test]
fn waiting_raises_a_ticket_by_one_class_at_a_time() {
    let mut line = line(&[(0, 2, None), (150, 0, None), (150, 1, None)]);
    let classes =
        |line: &Line<Job>| line.ranks().iter().map(|(class, rank)| (*class, rank.rows())).collect::<Vec<_>>();
    line.rise(ms(99), PATIENCE.ageing);
    assert_eq!(classes(&line), [(0, 1), (1, 1), (2, 1)]);
    line.rise(ms(100), PATIENCE.ageing);
    assert_eq!(classes(&line), [(0, 1), (1, 2)]);
    line.rise(ms(200), PATIENCE.ageing);
    assert_eq!(classes(&line), [(0, 2), (1, 1)]);
    // Three ageings after it came, the lowest class goes before what was due as early; the others came later.
    assert_eq!(order(&line), [1, 0, 2]);
    line.rise(ms(900), PATIENCE.ageing);
    assert_eq!((classes(&line), order(&line)), (vec![(0, 3)], vec![1, 0, 2]));
}

#[test]
fn a_ticket_that_slept_through_several_ageings_rises_through_all() {
    let mut line = line(&[(0, 9, None)]);
    line.rise(ms(905), PATIENCE.ageing);
    assert_eq!(line.rows_with(0), 1);
}

#[test]
fn a_ticket_waits_for_company_at_most_half_of_its_time() {
    let line = line(&[(0, 0, None), (1, 0, Some(5))]);
    assert_eq!(line.due(), Some(ms(3)));
}

#[test]
fn a_ticket_taken_out_is_gone_from_every_book() {
    let mut line = line(&[(0, 1, Some(50)), (3, 0, None)]);
    assert!(line.remove(0).is_some());
    assert!(line.remove(0).is_none());
    assert_eq!((line.rows(), line.units(), order(&line)), (1, 1, vec![1]));
    assert_eq!((line.oldest(), line.due(), line.doom(COST)), (Some((ms(3), 1)), Some(ms(13)), None));
    line.rise(ms(500), PATIENCE.ageing);
    assert_eq!(line.rows(), 1);
    assert!(line.remove(1).is_some());
    assert!(line.is_empty() && line.ranks().is_empty());
}

#[test]
fn hopeless_is_what_cannot_be_met_alone() {
    let line = line(&[(0, 0, Some(108)), (0, 1, Some(109)), (0, 0, None)]);
    assert_eq!(line.doom(COST), Some(ms(99)));
    assert!(line.hopeless(ms(99), Some(COST)).is_empty());
    assert_eq!(line.hopeless(ms(100), Some(COST)), [0]);
    assert_eq!(line.hopeless(ms(101), Some(COST)), [0, 1]);
}

#[test]
fn without_a_cost_only_what_is_over_is_hopeless() {
    let line = line(&[(0, 0, Some(108)), (0, 0, Some(109))]);
    assert!(line.hopeless(ms(107), None).is_empty());
    assert_eq!(line.hopeless(ms(108), None), [0]);
}

#[test]
fn a_heavy_ticket_is_hopeless_before_a_light_one() {
    let mut line = line(&[(0, 0, Some(100))]);
    line.push(ms(0), 1, PATIENCE, Ticket { rows: 5, units: 20, ..ticket(0, Some(100)) });
    assert_eq!(line.hopeless(ms(80), Some(COST)), [1]);
    assert_eq!(line.hopeless(ms(92), Some(COST)), [0, 1]);
}

#[test]
fn rows_before_a_ticket_are_those_of_higher_classes_and_of_earlier_deadlines() {
    let line = line(&[(0, 0, Some(50)), (0, 0, Some(70)), (0, 1, Some(20)), (0, 1, None), (0, 2, None)]);
    let before = |class, deadline| line.rows_before(ms(0), PATIENCE, &ticket(class, deadline));
    assert_eq!(before(0, Some(40)), 0);
    assert_eq!(before(0, Some(50)), 1, "equals go as they came");
    assert_eq!(before(0, None), 2);
    assert_eq!(before(1, Some(30)), 3);
    assert_eq!(before(2, None), 5);
    assert_eq!((line.rows_with(0), line.rows_with(1), line.rows_with(9)), (2, 4, 5));
}

#[test]
fn the_cancelled_are_found_at_the_head_and_everywhere() {
    let mut line = line(&[]);
    let flags: Vec<_> = (0..4)
        .map(|sequence| {
            let ticket = ticket(0, None);
            let flag = Rc::clone(&ticket.payload.0);
            line.push(ms(0), sequence, PATIENCE, ticket);
            flag
        })
        .collect();
    assert!(line.cancelled_heads().is_empty());
    for gone in [0, 1, 3] {
        flags[gone].set(true);
    }
    assert_eq!(line.cancelled_heads(), [0, 1]);
    assert_eq!(line.all_cancelled(), [0, 1, 3]);
    assert!(line.cancelled(3) && !line.cancelled(2) && !line.cancelled(77));
}

#[test]
fn arrivals_are_counted_by_class() {
    let mut line = line(&[]);
    line.arrive(ms(0), 0, 10);
    line.arrive(ms(0), 2, 30);
    let (high, all) = (line.rate(ms(0), 1), line.rate(ms(0), 2));
    assert!(high > 0.0 && (all / high - 4.0).abs() < 1e-9, "{high} {all}");
}

proptest! {
    #[test]
    fn the_books_agree_with_the_tickets_whatever_comes_and_goes(
        steps in prop::collection::vec(
            (0_u64..30, 0_u8..4, 1_u32..5, prop::option::of(1_u64..500), any::<bool>(), any::<usize>()), 1..60),
    ) {
        let (mut line, mut now, mut kept) = (line(&[]), 0, BTreeMap::new());
        for (sequence, (pass, class, rows, patience, take, which)) in steps.into_iter().enumerate() {
            now += pass;
            line.rise(ms(now), PATIENCE.ageing);
            let ticket = Ticket { rows, units: 2 * rows, ..ticket(class, patience.map(|left| now + left)) };
            kept.insert(sequence as u64, (now, ticket.clone()));
            line.push(ms(now), sequence as u64, PATIENCE, ticket);
            if take && let Some(key) = kept.keys().nth(which % kept.len()).copied() {
                kept.remove(&key);
                prop_assert!(line.remove(key).is_some());
            }
            let rows: u64 = kept.values().map(|(_, ticket)| u64::from(ticket.rows)).sum();
            prop_assert_eq!((line.rows(), line.units()), (rows, 2 * rows));
            prop_assert_eq!(line.rows_with(u8::MAX), rows);
            let mut listed = order(&line);
            listed.sort_unstable();
            prop_assert_eq!(listed, kept.keys().copied().collect::<Vec<_>>());
            let oldest = kept.first_key_value().map(|(key, (arrived, _))| (ms(*arrived), *key));
            prop_assert_eq!(line.oldest(), oldest);
            // Each is in the class that its wait has earned it.
            for (class, rank) in line.ranks() {
                for (key, _) in rank.in_order() {
                    let (arrived, ticket) = &kept[&key];
                    let earned = u64::from(ticket.class).saturating_sub((now - arrived) / 100);
                    prop_assert_eq!(u64::from(*class), earned);
                }
            }
        }
    }

    #[test]
    fn rows_until_a_place_are_those_of_a_walk(
        deadlines in prop::collection::vec((0_u64..50, 1_u32..5), 0..30), order in 0_u64..50,
    ) {
        let mut rank = Rank::default();
        for (sequence, (deadline, rows)) in deadlines.iter().enumerate() {
            let weight = Weight { rows: *rows, units: *rows, deadline: ms(*deadline) };
            rank.insert((ms(*deadline), sequence as u64), weight);
        }
        let walked: u64 = deadlines.iter().filter(|(d, _)| *d <= order).map(|(_, rows)| u64::from(*rows)).sum();
        prop_assert_eq!(rank.rows_until(ms(order)), walked);
    }
}

#[test]
fn its_turn_goes_by_its_oldest_while_batches_take_the_oldest() {
    let mut line = line(&[(0, 0, None), (4, 0, None), (6, 0, None), (9, 0, None)]);
    assert_eq!(line.turn(), Some((ms(0), 0)));
    assert_eq!(line.take([0, 1].into_iter()).len(), 2);
    assert_eq!(line.turn(), Some((ms(6), 2)), "those that ran came at 2 on average");
}

#[test]
fn its_turn_goes_by_those_that_ran_when_they_came_later_than_who_is_left() {
    let mut line = line(&[(0, 1, None), (4, 0, None), (8, 0, None), (9, 0, None)]);
    assert_eq!(line.take([1, 2].into_iter()).len(), 2);
    assert_eq!(line.turn(), Some((ms(6), 0)), "4 and 8 on average");
    assert_eq!(line.take([7].into_iter()).len(), 0, "there is none of that number");
    line.take([0, 3].into_iter());
    assert_eq!((line.turn(), line.rows()), (None, 0));
}
