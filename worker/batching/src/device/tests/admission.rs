//! Who gets in.

use super::*;

/// Batches of 32 whose costs are measured, and one of `rows` that runs since 10 ms.
fn busy(rows: u32) -> (Device<Job>, QueueId) {
    let (mut device, queue) = one(QueueSettings { max_batch_rows: 32, ..settings() });
    measure(&mut device, queue, 9);
    occupy(&mut device, queue, 10, rows);
    (device, queue)
}

/// Refuses a ticket, and gives why; `None` when it is let in.
fn refusal(device: &mut Device<Job>, queue: QueueId, now: u64, ticket: Ticket<Job>) -> Option<Refusal> {
    let refused = device.admit(ms(now), queue, vec![ticket.clone()]).err()?;
    assert_eq!(refused.parts, [ticket], "another ticket came back");
    Some(refused.refusal)
}

#[test]
fn a_deadline_that_has_passed_is_refused() {
    let (mut device, queue) = one(settings());
    assert_eq!(refusal(&mut device, queue, 7, due("late", 7)), Some(Refusal::Deadline));
    assert_eq!(device.refuses(ms(7), queue, Some(ms(7))), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 7, due("first", 8)), None, "costs were not measured of late");
}

#[test]
fn what_a_free_lane_could_not_do_in_time_is_refused() {
    let (mut device, queue) = one(settings());
    measure(&mut device, queue, 9);
    assert_eq!(refusal(&mut device, queue, 10, due("late", 18)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 19)), None);
    assert_eq!(refusal(&mut device, queue, 10, due("wide", 20)), None);
}

#[test]
fn what_runs_counts() {
    let (mut device, queue) = busy(12);
    // The lane is free at 30, and a batch of one takes 11.25 with its margin.
    assert_eq!(refusal(&mut device, queue, 10, due("late", 41)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 42)), None);
}

#[test]
fn company_that_waits_counts() {
    let (mut device, queue) = busy(12);
    admit(&mut device, queue, 11, ["a"; 20].map(ticket));
    // Free at 30, and 8 + 21 ms and a quarter: 66.25. A batch later: 30 + 28 + 11.25.
    assert_eq!(refusal(&mut device, queue, 11, due("late", 66)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 11, due("tight", 90)), None);
}

#[test]
fn a_request_without_a_deadline_is_let_in_however_long_it_takes() {
    let (mut device, queue) = busy(12);
    admit(&mut device, queue, 11, ["a"; 90].map(ticket));
    assert_eq!(refusal(&mut device, queue, 11, ticket("patient")), None);
}

#[test]
fn an_urgent_request_is_not_refused_for_others_that_go_after_it() {
    let (mut device, queue) = busy(12);
    let low = |name| Ticket { class: 1, ..ticket(name) };
    admit(&mut device, queue, 11, ["a"; 90].map(low));
    let late = Ticket { class: 1, ..due("late", 50) };
    assert_eq!(refusal(&mut device, queue, 11, late), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 11, due("urgent", 50)), None);
}

#[test]
fn models_that_go_first_count() {
    let (mut device, queue) = busy(12);
    let other = device.add(QueueSettings { max_batch_rows: 32, ..settings() });
    admit(&mut device, other, 11, ["o"; 32].map(ticket));
    // Free at 30, 40 ms of the other model, 11.25 of its own; and a row or two will still come.
    assert_eq!(refusal(&mut device, queue, 12, due("late", 81)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 12, due("tight", 84)), None);
}

#[test]
fn another_lane_that_is_free_sooner_counts() {
    let mut device = Device::new(DeviceSettings { lanes: 2, ..ONE_LANE });
    let queue = device.add(QueueSettings { max_batch_rows: 32, ..settings() });
    measure(&mut device, queue, 9);
    occupy(&mut device, queue, 10, 12);
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 19)), None, "a lane is free");
    start(&mut device, 10);
    // Free at 19 and 30.
    assert_eq!(refusal(&mut device, queue, 10, due("late", 27)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 31)), None);
}

#[test]
fn a_model_that_has_no_lane_left_waits_for_its_own() {
    let mut device = Device::new(DeviceSettings { lanes: 2, ..ONE_LANE });
    let queue = device.add(QueueSettings { max_batch_rows: 32, lanes: 1, ..settings() });
    measure(&mut device, queue, 9);
    occupy(&mut device, queue, 10, 12);
    assert_eq!(refusal(&mut device, queue, 10, due("late", 41)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 42)), None);
}

#[test]
fn a_request_in_parts_gets_in_whole_or_not_at_all() {
    let (mut device, queue) = one(QueueSettings { max_queued_rows: 10, ..settings() });
    admit(&mut device, queue, 0, [rows(3, ticket("a"))]);
    let parts = || vec![rows(4, ticket("b1")), rows(4, ticket("b2"))];
    let refused = device.admit(ms(0), queue, parts()).unwrap_err();
    assert_eq!((refused.refusal, refused.parts), (Refusal::QueueFull, parts()));
    assert_eq!(device.view(queue), QueueView { queued_rows: 3, arrivals: 1, running: 0 });
}

#[test]
fn all_parts_of_a_request_must_be_done_in_time() {
    let (mut device, queue) = busy(12);
    let parts = |deadline| (0..3).map(|_| rows(32, due("part", deadline))).collect::<Vec<_>>();
    // Free at 30; two of 40 ms go first and count for 60, and one of 40 with its margin.
    let refused = device.admit(ms(10), queue, parts(199)).unwrap_err();
    assert_eq!((refused.refusal, refused.parts.len()), (Refusal::Deadline, 3));
    assert_eq!(device.view(queue).queued_rows, 0);
    device.admit(ms(10), queue, parts(200)).unwrap();
    assert_eq!(device.view(queue).queued_rows, 96);
}

#[test]
fn a_full_queue_refuses() {
    let (mut device, queue) = one(QueueSettings { max_queued_rows: 4, ..settings() });
    admit(&mut device, queue, 0, [rows(3, ticket("a"))]);
    assert_eq!(refusal(&mut device, queue, 0, rows(2, ticket("b"))), Some(Refusal::QueueFull));
    assert_eq!(device.refuses(ms(0), queue, None), None, "one row still fits");
    admit(&mut device, queue, 0, [ticket("c")]);
    assert_eq!(device.refuses(ms(0), queue, None), Some(Refusal::QueueFull));
    assert_eq!(run(&mut device, 0), ["a", "c"]);
    admit(&mut device, queue, 0, [rows(2, ticket("b"))]);
}

#[test]
fn an_empty_queue_takes_even_a_request_above_its_limit() {
    let (mut device, queue) = one(QueueSettings { max_queued_rows: 1, ..settings() });
    admit(&mut device, queue, 0, [rows(4, ticket("wide"))]);
    assert_eq!(run(&mut device, 0), ["wide"]);
}

#[test]
fn costs_that_were_not_measured_of_late_keep_nobody_out_while_nothing_runs() {
    let (mut device, queue) = one(settings());
    measure(&mut device, queue, 9);
    assert_eq!(refusal(&mut device, queue, 1_008, due("late", 1_010)), Some(Refusal::Deadline));
    // A second after the last batch the next request is tried, or a cost once measured too high would stay for ever.
    assert_eq!(device.refuses(ms(1_009), queue, Some(ms(1_011))), None);
    admit(&mut device, queue, 1_009, [due("tried", 1_011)]);
    assert_eq!(run(&mut device, 1_009), ["tried"]);
}

#[test]
fn only_one_request_at_a_time_is_tried() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, [due("tried", 2), due("other", 3)]);
    let turn = device.next(ms(0));
    assert!(matches!(&turn.next, Next::Run(batch) if names(&batch.tickets) == ["tried"]));
    assert_eq!(dropped(&turn), [("other", Cause::Hopeless)], "9 ms of the first, and 9 of its own");
    assert_eq!(refusal(&mut device, queue, 0, due("late", 17)), Some(Refusal::Deadline));
}

#[test]
fn what_is_certainly_too_late_is_known_before_anything_is_read() {
    let (mut device, queue) = busy(12);
    assert_eq!(device.refuses(ms(10), queue, Some(ms(38))), Some(Refusal::Deadline), "20 + 9 ms");
    assert_eq!(device.refuses(ms(10), queue, Some(ms(39))), None);
    assert_eq!(device.refuses(ms(10), queue, None), None);
}

#[test]
fn who_gets_in_is_told_when_it_will_be_done() {
    let (mut device, queue) = busy(12);
    assert_eq!(
        device.admit(ms(10), queue, vec![ticket("a")]),
        Ok(ms(29)),
        "20 ms until the lane is free, and 9"
    );
    assert_eq!(device.admit(ms(15), queue, vec![ticket("b")]), Ok(ms(25)), "15, and 10 for both");
}

#[test]
fn an_idle_device_quotes_what_it_takes_alone() {
    let (mut device, queue) = one(settings());
    let quote = device.quote(ms(0), queue).unwrap();
    assert_eq!((quote.quote, quote.floor), (ms(9), ms(9)));
    assert_eq!(device.admit(ms(0), queue, vec![ticket("a")]), Ok(ms(9)));
}

#[test]
fn with_hundreds_of_models_waiting_a_few_stand_for_all() {
    let mut device = Device::new(ONE_LANE);
    let queues: Vec<_> = (0..400).map(|_| device.add(settings())).collect();
    for queue in &queues[1..] {
        admit(&mut device, *queue, 0, [ticket("a")]);
    }
    let quote = device.quote(ms(1), queues[0]).unwrap();
    let (least, most) = (ms(399 * 9 * 9 / 10), ms(399 * 9 * 11 / 10));
    assert!(least < quote.device_ahead && quote.device_ahead < most, "{:?}", quote.device_ahead);
    assert!(quote.device_ahead < quote.quote, "a few more will come: {:?}", quote.quote);
}

#[test]
fn lanes_that_others_cannot_take_are_there_for_it() {
    let mut device = Device::new(DeviceSettings { lanes: 2, ..ONE_LANE });
    let flood = device.add(QueueSettings { max_batch_rows: 32, lanes: 1, ..settings() });
    let queue = device.add(QueueSettings { max_batch_rows: 32, lanes: 1, ..settings() });
    measure(&mut device, queue, 9);
    occupy(&mut device, flood, 10, 32);
    admit(&mut device, flood, 10, ["f"; 90].map(ticket));
    occupy(&mut device, queue, 10, 1);
    // Its own lane is free at 19, whatever waits for the other.
    assert_eq!(device.admit(ms(10), queue, vec![due("tight", 31)]), Ok(ms(18)));
    let quote = device.quote(ms(10), queue).unwrap();
    assert_eq!(quote.quote, ms(19), "9, and 10 for both");
    // 9, and on two lanes three batches of the other model and one of its own.
    assert_eq!(quote.device_ahead, ms(9) + ms(3 * 8 + 90 + 9) / 2);
}

/// Three lanes, of which two models that may have one each keep two busy since 10 ms, until 19 and 30.
fn two_of_three_lanes() -> (Device<Job>, QueueId, QueueId) {
    let mut device = Device::new(DeviceSettings { lanes: 3, ..ONE_LANE });
    let single = QueueSettings { max_batch_rows: 32, lanes: 1, ..settings() };
    let (queue, other) = (device.add(single.clone()), device.add(single));
    measure(&mut device, queue, 9);
    occupy(&mut device, queue, 10, 1);
    occupy(&mut device, other, 10, 12);
    (device, queue, other)
}

#[test]
fn a_free_lane_is_of_no_use_to_a_model_that_may_have_no_more() {
    let (mut device, queue, other) = two_of_three_lanes();
    assert_eq!(refusal(&mut device, queue, 10, due("late", 27)), Some(Refusal::Deadline), "9 ms and 9");
    assert_eq!(refusal(&mut device, queue, 10, due("tight", 31)), None);
    assert_eq!(refusal(&mut device, other, 10, due("late", 38)), Some(Refusal::Deadline), "20 ms and 9");
}

#[test]
fn models_that_compete_for_a_lane_wait_for_each_other() {
    let (mut device, queue, _) = two_of_three_lanes();
    // A third model may have all lanes, and its requests came first: 8 ms until one is free, a third of 40, and 11.25.
    let third = device.add(QueueSettings { max_batch_rows: 32, ..settings() });
    admit(&mut device, third, 10, ["t"; 64].map(ticket));
    assert_eq!(start(&mut device, 10).rows, 32, "the third lane");
    assert_eq!(refusal(&mut device, queue, 11, due("late", 43)), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 11, due("tight", 45)), None);
}

#[test]
fn what_others_run_without_more_to_come_is_waited_for() {
    let (mut device, queue, other) = two_of_three_lanes();
    let third = device.add(QueueSettings { max_batch_rows: 32, lanes: 2, ..settings() });
    occupy(&mut device, third, 10, 4);
    // Its own batch ends at 19, those of the others at 30 and 22; nothing waits for any of them.
    assert_eq!(device.admit(ms(10), queue, vec![ticket("a")]), Ok(ms(18)));
    assert_eq!(
        device.admit(ms(10), third, vec![ticket("b")]),
        Ok(ms(21)),
        "a takes the lane that is free at 19"
    );
    assert_eq!(device.admit(ms(10), other, vec![ticket("c")]), Ok(ms(29)));
}

#[test]
fn buckets_of_one_model_share_the_lanes_that_it_may_have() {
    let mut device = Device::new(DeviceSettings { lanes: 4, ..ONE_LANE });
    let costs = vec![(ShapeKey(Box::new([1])), COST), (ShapeKey(Box::new([2])), COST)];
    let queue = device.add(QueueSettings { max_batch_rows: 32, lanes: 1, costs, ..settings() });
    admit(&mut device, queue, 0, [shaped(1, ticket("measured"))]);
    let batch = start(&mut device, 0);
    device.finish(ms(9), batch.id, Ended::Ran(ms(9)));
    admit(&mut device, queue, 10, [shaped(1, rows(12, ticket("running")))]);
    start(&mut device, 10);
    admit(&mut device, queue, 11, ["a"; 32].map(|name| shaped(1, ticket(name))));
    // Its only lane is free at 30, 40 ms of the other bucket go first: 70 and 11.25, and a row that may come.
    assert_eq!(refusal(&mut device, queue, 12, shaped(2, due("late", 81))), Some(Refusal::Deadline));
    assert_eq!(refusal(&mut device, queue, 12, shaped(2, due("tight", 84))), None);
}
