//! What runs together, and when.

use super::*;

#[test]
fn an_empty_device_is_idle() {
    let (mut device, _) = one(settings());
    assert_eq!(device.next(ms(5)), Turn { dropped: vec![], next: Next::Idle });
}

#[test]
fn a_lone_request_runs_at_once() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 3, [ticket("a")]);
    assert_eq!(run(&mut device, 3), ["a"]);
    assert_eq!(device.next(ms(3)).next, Next::Idle);
}

#[test]
fn requests_run_in_order_up_to_the_row_limit() {
    let (mut device, queue) = one(settings());
    admit(
        &mut device,
        queue,
        0,
        [rows(2, ticket("a")), ticket("b"), rows(2, ticket("c")), rows(2, ticket("d"))],
    );
    assert_eq!(device.view(queue).queued_rows, 7);
    assert_eq!(run(&mut device, 0), ["a", "b"], "c would make five rows");
    assert_eq!(run(&mut device, 0), ["c", "d"]);
    assert_eq!(device.view(queue), QueueView { queued_rows: 0, arrivals: 4, running: 0 });
}

#[test]
fn a_batch_that_is_not_taken_yet_grows() {
    let (mut device, queue) = one(settings());
    let running = occupy(&mut device, queue, 0, 1);
    admit(&mut device, queue, 1, [ticket("a")]);
    assert_eq!(device.next(ms(2)).next, Next::Idle, "the only lane is busy");
    admit(&mut device, queue, 8, [ticket("b")]);
    device.finish(ms(9), running, Ended::Ran(ms(9)));
    assert_eq!(run(&mut device, 9), ["a", "b"]);
}

#[test]
fn a_foreign_shape_neither_joins_a_batch_nor_ends_it() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [shaped(7, ticket("a")), shaped(9, ticket("x")), shaped(7, ticket("b"))]);
    assert_eq!(run(&mut device, 0), ["a", "b"]);
    assert_eq!(run(&mut device, 0), ["x"]);
}

#[test]
fn the_bucket_whose_oldest_request_came_first_runs_first() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [shaped(9, ticket("first")), shaped(1, ticket("second"))]);
    assert_eq!(run(&mut device, 0), ["first"]);
    assert_eq!(run(&mut device, 0), ["second"]);
}

#[test]
fn the_most_urgent_deadline_goes_first() {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 1, ..settings() });
    admit(&mut device, queue, 0, [ticket("patient"), due("late", 500), due("soon", 200)]);
    assert_eq!(run(&mut device, 0), ["soon"]);
    assert_eq!(run(&mut device, 0), ["late"]);
    assert_eq!(run(&mut device, 0), ["patient"]);
}

#[test]
fn one_in_haste_is_left_out_where_more_can_be_done_without_it() {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 32, lanes: 64, ..settings() });
    measure(&mut device, queue, 9);
    admit(&mut device, queue, 10, [due("hasty", 22)]);
    for name in ["a", "b", "c", "d", "e"] {
        admit(&mut device, queue, 10, [due(name, 60)]);
    }
    assert_eq!(run(&mut device, 10), ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_higher_class_goes_first_and_a_lower_one_fills_the_batch() {
    let (mut device, queue) = one(settings());
    let low = |name| Ticket { class: 1, ..ticket(name) };
    admit(&mut device, queue, 0, [low("c"), low("d"), low("e"), ticket("a"), ticket("b")]);
    assert_eq!(run(&mut device, 0), ["a", "b", "c", "d"]);
    assert_eq!(run(&mut device, 0), ["e"]);
}

#[test]
fn waiting_for_an_ageing_raises_a_request_by_a_class() {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 1, ageing: ms(100), ..settings() });
    admit(&mut device, queue, 0, [Ticket { class: 1, ..ticket("low") }]);
    admit(&mut device, queue, 99, [ticket("high")]);
    let mut copy = one(QueueSettings { max_batch_rows: 1, ageing: ms(100), ..settings() });
    admit(&mut copy.0, copy.1, 0, [Ticket { class: 1, ..ticket("low") }]);
    admit(&mut copy.0, copy.1, 99, [ticket("high")]);
    assert_eq!(run(&mut device, 99), ["high"]);
    // At 100 it is of the same class, and was to go before all that came an ageing after that: at 199.
    admit(&mut copy.0, copy.1, 100, [due("soon", 150)]);
    assert_eq!(run(&mut copy.0, 100), ["soon"]);
    assert_eq!(run(&mut copy.0, 100), ["high"]);
    admit(&mut copy.0, copy.1, 101, [ticket("later")]);
    assert_eq!(run(&mut copy.0, 101), ["low"]);
}

#[test]
fn a_delay_holds_a_batch_until_its_oldest_is_that_old() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), ..settings() });
    admit(&mut device, queue, 0, [ticket("a")]);
    admit(&mut device, queue, 3, [ticket("b")]);
    assert_eq!(device.next(ms(4)).next, Next::WaitUntil(ms(5)));
    assert_eq!(device.view(queue).queued_rows, 2, "waiting takes nothing out");
    assert_eq!(run(&mut device, 5), ["a", "b"]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), ..settings() });
    admit(&mut device, queue, 0, [rows(3, ticket("a")), ticket("b")]);
    assert_eq!(run(&mut device, 0), ["a", "b"]);
}

#[test]
fn a_batch_that_the_next_request_would_overfill_counts_as_full() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), ..settings() });
    admit(&mut device, queue, 0, [rows(3, ticket("a")), rows(2, ticket("b"))]);
    assert_eq!(run(&mut device, 0), ["a"]);
    assert_eq!(device.next(ms(0)).next, Next::WaitUntil(ms(5)));
}

#[test]
fn a_full_bucket_runs_while_an_older_one_still_waits() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), ..settings() });
    admit(&mut device, queue, 0, [shaped(1, ticket("old")), shaped(2, rows(4, ticket("full")))]);
    assert_eq!(run(&mut device, 0), ["full"]);
    assert_eq!(device.next(ms(0)).next, Next::WaitUntil(ms(5)));
}

#[test]
fn a_request_waits_for_company_at_most_half_of_its_time() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(50), ..settings() });
    admit(&mut device, queue, 0, [ticket("patient"), due("hasty", 30)]);
    assert_eq!(device.next(ms(0)).next, Next::WaitUntil(ms(15)));
    assert_eq!(run(&mut device, 15), ["hasty", "patient"]);
}

#[test]
fn a_preferred_size_waits_no_longer() {
    let preferred = QueueSettings { max_queue_delay: ms(5), preferred_batch_rows: vec![2], ..settings() };
    let (mut device, queue) = one(preferred);
    admit(&mut device, queue, 0, [ticket("a")]);
    assert_eq!(device.next(ms(0)).next, Next::WaitUntil(ms(5)));
    admit(&mut device, queue, 1, [ticket("b")]);
    assert_eq!(run(&mut device, 1), ["a", "b"]);
}

#[test]
fn a_batch_is_cut_to_the_largest_preferred_size_that_it_fills() {
    let preferred = QueueSettings { max_batch_rows: 8, preferred_batch_rows: vec![2, 4], ..settings() };
    let (mut device, queue) = one(preferred);
    admit(&mut device, queue, 0, ["a", "b", "c", "d", "e", "f", "g"].map(ticket));
    assert_eq!(run(&mut device, 0), ["a", "b", "c", "d"]);
    assert_eq!(run(&mut device, 0), ["e", "f"]);
    assert_eq!(run(&mut device, 0), ["g"]);
}

#[test]
fn a_preferred_size_makes_nobody_late() {
    let preferred = QueueSettings { max_batch_rows: 8, preferred_batch_rows: vec![4], ..settings() };
    let (mut device, queue) = one(preferred);
    // Five together take 13 ms; four and then one 12 + 9, and a quarter: 26.25.
    admit(&mut device, queue, 0, ["a", "b", "c", "d", "e"].map(|name| due(name, 26)));
    assert_eq!(run(&mut device, 0).len(), 5);
    admit(&mut device, queue, 0, ["a", "b", "c", "d", "e"].map(|name| due(name, 27)));
    assert_eq!(run(&mut device, 0).len(), 4);
}

#[test]
fn more_rows_than_are_worth_while_run_in_two_batches() {
    let useful = QueueSettings { useful_rows: vec![(ShapeKey::default(), 3)], ..settings() };
    let (mut device, queue) = one(useful);
    admit(&mut device, queue, 0, ["a", "b", "c", "d"].map(ticket));
    assert_eq!(run(&mut device, 0), ["a", "b", "c"]);
    assert_eq!(run(&mut device, 0), ["d"]);
}

#[test]
fn a_deep_queue_with_deadlines_keeps_to_no_preferred_size() {
    let preferred = QueueSettings { max_batch_rows: 8, preferred_batch_rows: vec![4], ..settings() };
    let (mut device, queue) = one(preferred);
    measure(&mut device, queue, 9);
    admit(&mut device, queue, 10, ["a"; 12].map(|name| due(name, 1_000)));
    assert_eq!(run(&mut device, 10).len(), 8, "more than a batch waits: small ones are less throughput");
    assert_eq!(run(&mut device, 10).len(), 4, "what is left fills the preferred size");
}

#[test]
fn a_deep_queue_runs_full_batches_whatever_is_worth_while() {
    let useful = QueueSettings { useful_rows: vec![(ShapeKey::default(), 3)], ..settings() };
    let (mut device, queue) = one(useful);
    admit(&mut device, queue, 0, ["a", "b", "c", "d", "e"].map(ticket));
    assert_eq!(run(&mut device, 0), ["a", "b", "c", "d"]);
}

#[test]
fn rows_that_are_worth_while_wait_for_no_more() {
    let useful =
        QueueSettings { max_queue_delay: ms(5), useful_rows: vec![(ShapeKey::default(), 2)], ..settings() };
    let (mut device, queue) = one(useful);
    admit(&mut device, queue, 0, [ticket("a")]);
    assert_eq!(device.next(ms(0)).next, Next::WaitUntil(ms(5)));
    admit(&mut device, queue, 0, [ticket("b")]);
    assert_eq!(run(&mut device, 0), ["a", "b"]);
}

#[test]
fn the_parts_of_one_request_come_in_together() {
    let (mut device, queue) = one(settings());
    device.admit(ms(0), queue, vec![rows(4, ticket("a1")), rows(4, ticket("a2")), ticket("a3")]).unwrap();
    admit(&mut device, queue, 1, [ticket("b")]);
    assert_eq!(device.view(queue).arrivals, 2, "requests, not parts");
    assert_eq!(run(&mut device, 1), ["a1"]);
    assert_eq!(run(&mut device, 1), ["a2"]);
    assert_eq!(run(&mut device, 1), ["a3", "b"]);
}

#[test]
fn buckets_that_clients_make_up_are_not_remembered_for_ever() {
    let (mut device, queue) = one(settings());
    for shape in 0..1_000 {
        admit(&mut device, queue, shape, [shaped(shape, ticket("a"))]);
        assert_eq!(run(&mut device, shape), ["a"]);
    }
    assert!(device.queues[&queue].known_lines() <= 65, "{}", device.queues[&queue].known_lines());
}

#[test]
fn buckets_whose_requests_are_all_refused_are_not_remembered_either() {
    let (mut device, queue) = one(settings());
    measure(&mut device, queue, 9);
    for shape in 0..1_000 {
        // Nothing can be done within 1 ms.
        let refused = device.admit(ms(10), queue, vec![shaped(shape, due("a", 11))]).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Deadline);
    }
    assert!(device.queues[&queue].known_lines() <= 65, "{}", device.queues[&queue].known_lines());
}
