//! What leaves without running, why, and when.

use super::*;

#[test]
fn cancelled_and_expired_requests_never_run() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [gone(ticket("gone")), due("late", 20), ticket("live")]);
    let turn = device.next(ms(20));
    assert_eq!(dropped(&turn), [("gone", Cause::Cancelled), ("late", Cause::Expired)]);
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["live"]));
    assert_eq!(device.next(ms(20)).dropped, [], "each is handed out once");
}

#[test]
fn a_cancelled_request_in_the_middle_of_a_batch_does_not_run_either() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [ticket("a"), gone(ticket("gone")), ticket("b")]);
    let turn = device.next(ms(0));
    assert_eq!(dropped(&turn), [("gone", Cause::Cancelled)]);
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["a", "b"]));
}

#[test]
fn a_request_that_was_cancelled_and_expired_counts_as_cancelled() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [gone(due("gone", 20))]);
    assert_eq!(dropped(&device.next(ms(30))), [("gone", Cause::Cancelled)]);
}

#[test]
fn dead_requests_do_not_make_a_batch_full() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), ..settings() });
    admit(&mut device, queue, 0, [gone(rows(3, ticket("gone"))), ticket("live")]);
    let turn = device.next(ms(1));
    assert_eq!((turn.dropped.len(), turn.next), (1, Next::WaitUntil(ms(5))));
    assert_eq!(device.view(queue).queued_rows, 1);
    assert_eq!(run(&mut device, 5), ["live"]);
}

#[test]
fn a_dead_head_gives_its_queue_no_turn() {
    let mut device = Device::new(ONE_LANE);
    let (a, b) = (device.add(settings()), device.add(settings()));
    admit(&mut device, a, 0, [gone(ticket("gone"))]);
    admit(&mut device, b, 1, [ticket("b")]);
    admit(&mut device, a, 2, [ticket("a")]);
    assert_eq!(run(&mut device, 2), ["b"]);
}

#[test]
fn what_cannot_be_met_any_more_is_dropped_before_its_deadline() {
    let (mut device, queue) = one(settings());
    measure(&mut device, queue, 9);
    admit(&mut device, queue, 10, [due("hopeless", 30), due("tight", 31)]);
    let turn = device.next(ms(22));
    assert_eq!(dropped(&turn), [("hopeless", Cause::Hopeless)], "8 ms are left, and it takes 9");
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["tight"]));
}

#[test]
fn what_this_batch_makes_hopeless_is_dropped_as_it_starts() {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 32, ..settings() });
    measure(&mut device, queue, 9);
    admit(&mut device, queue, 10, [due("hasty", 25)]);
    admit(&mut device, queue, 10, ["a"; 10].map(|name| due(name, 60)));
    let turn = device.next(ms(10));
    assert_eq!(dropped(&turn), [("hasty", Cause::Hopeless)]);
    assert!(matches!(turn.next, Next::Run(batch) if batch.rows == 10));
}

#[test]
fn what_another_models_batch_makes_hopeless_is_dropped_as_that_starts() {
    let mut device = Device::new(ONE_LANE);
    let (a, b) = (device.add(QueueSettings { max_batch_rows: 32, ..settings() }), device.add(settings()));
    measure(&mut device, b, 9);
    admit(&mut device, a, 10, ["a"; 20].map(ticket));
    admit(&mut device, b, 10, [due("b", 40)]);
    let turn = device.next(ms(10));
    assert_eq!(dropped(&turn), [("b", Cause::Hopeless)], "28 ms and 9 are more than 30");
    assert!(matches!(turn.next, Next::Run(batch) if batch.queue == a));
}

#[test]
fn with_another_lane_free_nothing_is_hopeless_for_a_batch() {
    let mut device = Device::new(DeviceSettings { lanes: 2, ..ONE_LANE });
    let (a, b) = (device.add(QueueSettings { max_batch_rows: 32, ..settings() }), device.add(settings()));
    measure(&mut device, b, 9);
    admit(&mut device, a, 10, ["a"; 20].map(ticket));
    admit(&mut device, b, 10, [due("b", 40)]);
    assert_eq!(device.next(ms(10)).dropped, []);
    assert_eq!(run(&mut device, 10), ["b"]);
}

#[test]
fn what_the_next_batch_would_leave_out_too_is_dropped_as_this_one_starts() {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 32, ..settings() });
    measure(&mut device, queue, 9);
    // At 22 a batch of 32 can be done without the tight ones: 40 ms and a quarter. At 62 they could be met alone, but
    // not together with the eight that are left.
    let running = occupy(&mut device, queue, 10, 4);
    admit(&mut device, queue, 11, ["tight"; 4].map(|name| due(name, 71)));
    admit(&mut device, queue, 12, ["a"; 20].map(|name| due(name, 75)));
    admit(&mut device, queue, 13, ["b"; 20].map(|name| due(name, 200)));
    device.finish(ms(22), running, Ended::Ran(ms(12)));
    let turn = device.next(ms(22));
    let Next::Run(batch) = &turn.next else { panic!("nothing ran") };
    assert_eq!((batch.rows, names(&batch.tickets)[0]), (32, "a"));
    assert_eq!(dropped(&turn), [("tight", Cause::Hopeless); 4]);
}

#[test]
fn a_full_queue_makes_room_from_requests_that_nobody_waits_for() {
    let (mut device, queue) = one(QueueSettings { max_queued_rows: 4, ..settings() });
    let leaver = rows(3, ticket("leaver"));
    let flag = Rc::clone(&leaver.payload.gone);
    admit(&mut device, queue, 0, [leaver]);
    assert!(device.admit(ms(10), queue, vec![rows(2, ticket("b"))]).is_err());
    flag.set(true);
    assert!(device.admit(ms(10), queue, vec![rows(2, ticket("b"))]).is_err(), "swept less than 1 ms ago");
    admit(&mut device, queue, 11, [rows(2, ticket("b"))]);
    let turn = device.next(ms(11));
    assert_eq!(dropped(&turn), [("leaver", Cause::Cancelled)], "what a sweep found is still handed out");
    assert!(matches!(turn.next, Next::Run(batch) if names(&batch.tickets) == ["b"]));
}

#[test]
fn a_queue_is_full_only_while_somebody_waits_in_it() {
    let (mut device, queue) = one(QueueSettings { max_queued_rows: 1, ..settings() });
    let leaver = ticket("leaver");
    let flag = Rc::clone(&leaver.payload.gone);
    admit(&mut device, queue, 0, [leaver]);
    assert!(device.is_full(ms(0), queue));
    assert_eq!(device.refuses(ms(0), queue, None), Some(Refusal::QueueFull));
    flag.set(true);
    assert!(!device.is_full(ms(1), queue));
    assert_eq!(device.view(queue).queued_rows, 0);
    assert_eq!(dropped(&device.next(ms(1))), [("leaver", Cause::Cancelled)]);
}
