//! Examples of admission, order and waiting, one rule each.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::*;
use crate::{ShapeKey, old::Cause};

const LIMITS: Limits = Limits { max_batch_rows: 4, max_delay: Duration::ZERO, max_queued_rows: 100 };

#[derive(Debug, Clone, PartialEq)]
struct Job {
    name: &'static str,
    gone: Rc<Cell<bool>>,
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.gone.get()
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn ticket(name: &'static str, rows: u32, shape: &[u64], deadline: Option<Duration>) -> Ticket<Job> {
    let payload = Job { name, gone: Rc::default() };
    Ticket { rows, shape: ShapeKey(shape.into()), deadline, payload }
}

fn plain(name: &'static str, rows: u32) -> Ticket<Job> {
    ticket(name, rows, &[], None)
}

fn with(limits: Limits, tickets: Vec<Ticket<Job>>) -> Batcher<Job> {
    let mut batcher = Batcher::new(limits);
    for ticket in tickets {
        batcher.admit(Duration::ZERO, ticket).unwrap();
    }
    batcher
}

fn names(tickets: &[Ticket<Job>]) -> Vec<&'static str> {
    tickets.iter().map(|ticket| ticket.payload.name).collect()
}

/// Names of the batch that runs at `now`; panics when none does.
fn run(batcher: &mut Batcher<Job>, now: Duration) -> Vec<&'static str> {
    match batcher.next(now).next {
        Next::Run(batch) => {
            assert_eq!(batch.rows, batch.tickets.iter().map(|t| t.rows).sum::<u32>());
            names(&batch.tickets)
        }
        other => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn an_empty_queue_is_idle() {
    assert_eq!(Batcher::<Job>::new(LIMITS).next(ms(5)), Turn { dropped: vec![], next: Next::Idle });
}

#[test]
fn requests_run_in_order_up_to_the_row_limit() {
    let mut batcher = with(LIMITS, vec![plain("a", 2), plain("b", 1), plain("c", 2), plain("d", 2)]);
    assert_eq!(batcher.queued_rows(), 7);
    assert_eq!(run(&mut batcher, ms(0)), ["a", "b"], "c would make five rows");
    assert_eq!(run(&mut batcher, ms(0)), ["c", "d"]);
    assert_eq!(batcher.next(ms(0)).next, Next::Idle);
    assert_eq!(batcher.queued_rows(), 0);
}

#[test]
fn a_request_that_does_not_fit_is_not_overtaken_by_a_smaller_one() {
    let mut batcher = with(LIMITS, vec![plain("a", 2), plain("b", 3), plain("c", 1)]);
    assert_eq!(run(&mut batcher, ms(0)), ["a"]);
    assert_eq!(run(&mut batcher, ms(0)), ["b", "c"]);
}

#[test]
fn a_batch_limit_of_zero_runs_every_request_alone_and_at_once() {
    let limits = Limits { max_batch_rows: 0, max_delay: ms(50), ..LIMITS };
    let mut batcher = with(limits, vec![plain("a", 1), plain("b", 1)]);
    assert_eq!(run(&mut batcher, ms(0)), ["a"]);
    assert_eq!(run(&mut batcher, ms(0)), ["b"]);
}

#[test]
fn a_ticket_above_the_row_limit_runs_alone() {
    let mut batcher = with(LIMITS, vec![plain("big", 9), plain("b", 1)]);
    assert_eq!(run(&mut batcher, ms(0)), ["big"]);
    assert_eq!(run(&mut batcher, ms(0)), ["b"]);
}

#[test]
fn a_foreign_shape_neither_joins_a_batch_nor_ends_it() {
    let shaped = |name, shape| ticket(name, 1, &[shape], None);
    let mut batcher = with(LIMITS, vec![shaped("a", 7), shaped("x", 9), shaped("b", 7)]);
    assert_eq!(run(&mut batcher, ms(0)), ["a", "b"]);
    assert_eq!(run(&mut batcher, ms(0)), ["x"]);
}

#[test]
fn the_shape_whose_oldest_request_came_first_runs_first() {
    let shaped = |name, shape| ticket(name, 1, &[shape], None);
    let mut batcher = with(LIMITS, vec![shaped("late key", 9), shaped("early key", 1)]);
    assert_eq!(run(&mut batcher, ms(0)), ["late key"]);
    assert_eq!(run(&mut batcher, ms(0)), ["early key"]);
}

#[test]
fn a_delay_holds_a_batch_until_its_oldest_is_that_old() {
    let mut batcher = with(Limits { max_delay: ms(5), ..LIMITS }, vec![plain("a", 1)]);
    batcher.admit(ms(3), plain("b", 1)).unwrap();
    assert_eq!(batcher.next(ms(4)).next, Next::WaitUntil(ms(5)));
    assert_eq!(batcher.queued_rows(), 2, "waiting takes nothing out");
    assert_eq!(run(&mut batcher, ms(5)), ["a", "b"]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let mut batcher = with(Limits { max_delay: ms(5), ..LIMITS }, vec![plain("a", 3), plain("b", 1)]);
    assert_eq!(run(&mut batcher, ms(0)), ["a", "b"]);
}

#[test]
fn a_batch_that_the_next_request_would_overfill_counts_as_full() {
    let mut batcher = with(Limits { max_delay: ms(5), ..LIMITS }, vec![plain("a", 3), plain("b", 2)]);
    assert_eq!(run(&mut batcher, ms(0)), ["a"]);
    assert_eq!(batcher.next(ms(0)).next, Next::WaitUntil(ms(5)));
}

#[test]
fn a_full_shape_runs_while_an_older_one_still_waits() {
    let limits = Limits { max_delay: ms(5), ..LIMITS };
    let mut batcher = with(limits, vec![ticket("old", 1, &[1], None), ticket("full", 4, &[2], None)]);
    assert_eq!(run(&mut batcher, ms(0)), ["full"]);
    assert_eq!(batcher.next(ms(0)).next, Next::WaitUntil(ms(5)));
}

#[test]
fn a_request_waits_for_company_at_most_half_of_its_time() {
    let limits = Limits { max_delay: ms(50), ..LIMITS };
    let mut batcher = with(limits, vec![plain("patient", 1), ticket("hasty", 1, &[], Some(ms(8)))]);
    assert_eq!(batcher.next(ms(0)).next, Next::WaitUntil(ms(4)));
    assert_eq!(run(&mut batcher, ms(4)), ["patient", "hasty"]);
}

#[test]
fn cancelled_and_expired_tickets_never_reach_a_batch() {
    let gone = plain("gone", 1);
    let flag = Rc::clone(&gone.payload.gone);
    let tickets = vec![gone, ticket("late", 1, &[], Some(ms(2))), plain("live", 1)];
    let mut batcher = with(LIMITS, tickets);
    flag.set(true);
    let turn = batcher.next(ms(2));
    let dropped: Vec<_> = turn.dropped.iter().map(|d| (d.ticket.payload.name, d.cause)).collect();
    assert_eq!(dropped, [("gone", Cause::Cancelled), ("late", Cause::Expired)]);
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["live"]));
}

#[test]
fn dead_tickets_do_not_make_a_batch_full() {
    let gone = plain("gone", 3);
    let flag = Rc::clone(&gone.payload.gone);
    let mut batcher = with(Limits { max_delay: ms(5), ..LIMITS }, vec![gone, plain("live", 1)]);
    flag.set(true);
    let turn = batcher.next(ms(1));
    assert_eq!(turn.dropped.len(), 1);
    assert_eq!(turn.next, Next::WaitUntil(ms(5)));
    assert_eq!(batcher.queued_rows(), 1);
    assert_eq!(run(&mut batcher, ms(5)), ["live"]);
}

#[test]
fn a_queue_of_only_dead_tickets_becomes_idle() {
    let mut batcher = with(LIMITS, vec![ticket("late", 1, &[3], Some(ms(1)))]);
    let turn = batcher.next(ms(9));
    assert_eq!((turn.dropped.len(), turn.next), (1, Next::Idle));
    assert_eq!(batcher.next(ms(9)).dropped, [], "each is handed out once");
}

#[test]
fn a_full_queue_refuses_and_returns_the_ticket() {
    let mut batcher = with(Limits { max_queued_rows: 4, ..LIMITS }, vec![plain("a", 3)]);
    let refused = batcher.admit(ms(0), plain("b", 2)).unwrap_err();
    assert_eq!((refused.refusal, refused.ticket.payload.name), (Refusal::QueueFull, "b"));
    batcher.admit(ms(0), plain("c", 1)).unwrap();
    assert_eq!(run(&mut batcher, ms(0)), ["a", "c"]);
    batcher.admit(ms(0), plain("b", 2)).unwrap();
}

#[test]
fn an_empty_queue_takes_even_a_ticket_above_its_limit() {
    let mut batcher = with(Limits { max_queued_rows: 1, ..LIMITS }, vec![plain("wide", 4)]);
    assert_eq!(run(&mut batcher, ms(0)), ["wide"]);
}

#[test]
fn a_full_queue_makes_room_from_tickets_that_nobody_waits_for() {
    let gone = plain("gone", 3);
    let flag = Rc::clone(&gone.payload.gone);
    let mut batcher = with(Limits { max_queued_rows: 4, ..LIMITS }, vec![gone]);
    assert!(batcher.admit(ms(10), plain("b", 2)).is_err());
    flag.set(true);
    assert!(batcher.admit(ms(10), plain("b", 2)).is_err(), "swept less than a millisecond ago");
    batcher.admit(ms(11), plain("b", 2)).unwrap();
    let turn = batcher.next(ms(11));
    assert_eq!(turn.dropped.len(), 1, "what a sweep found is still handed out");
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["b"]));
}

#[test]
fn a_queue_is_full_only_while_somebody_waits_in_it() {
    let gone = plain("gone", 1);
    let flag = Rc::clone(&gone.payload.gone);
    let mut batcher = with(Limits { max_queued_rows: 1, ..LIMITS }, vec![gone]);
    assert!(batcher.is_full(ms(0)));
    flag.set(true);
    assert!(!batcher.is_full(ms(1)));
    assert_eq!(batcher.queued_rows(), 0);
}

#[test]
fn a_deadline_that_has_passed_is_refused_at_the_door() {
    let mut batcher = Batcher::new(LIMITS);
    let refused = batcher.admit(ms(7), ticket("late", 1, &[], Some(ms(7)))).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Deadline);
    batcher.admit(ms(7), ticket("tight", 1, &[], Some(ms(8)))).unwrap();
}
