//! Whose turn it is among the queues of a device, and how many run at a time.

use super::*;

fn two(
    device: DeviceSettings,
    first: QueueSettings,
    second: QueueSettings,
) -> (Device<Job>, QueueId, QueueId) {
    let mut device = Device::new(device);
    let (first, second) = (device.add(first), device.add(second));
    (device, first, second)
}

#[test]
fn the_queue_whose_oldest_request_came_first_has_the_turn() {
    let (mut device, a, b) = two(ONE_LANE, settings(), settings());
    admit(&mut device, b, 0, [ticket("b1")]);
    admit(&mut device, a, 1, [ticket("a1"), ticket("a2")]);
    admit(&mut device, b, 2, [ticket("b2")]);
    assert_eq!(run(&mut device, 2), ["b1", "b2"]);
    admit(&mut device, b, 3, [ticket("b3")]);
    assert_eq!(run(&mut device, 3), ["a1", "a2"]);
    assert_eq!(run(&mut device, 3), ["b3"]);
}

#[test]
fn a_flooded_queue_takes_turns_with_others() {
    let (mut device, flood, other) = two(ONE_LANE, settings(), settings());
    admit(&mut device, flood, 0, ["f"; 12].map(ticket));
    admit(&mut device, other, 1, [ticket("o")]);
    admit(&mut device, flood, 2, ["late"; 12].map(ticket));
    let turns: Vec<_> = (0..5).map(|_| run(&mut device, 3)[0]).collect();
    assert_eq!(turns, ["f", "f", "f", "o", "late"]);
}

#[test]
fn those_that_a_queue_leaves_waiting_win_no_turns_for_others() {
    let (mut device, flood, other) = two(ONE_LANE, settings(), settings());
    admit(&mut device, flood, 0, [Ticket { class: 1, ..ticket("left") }]);
    admit(&mut device, other, 1, [ticket("o")]);
    let turns: Vec<_> = (1..6)
        .map(|now| {
            admit(&mut device, flood, now, ["f"; 4].map(ticket));
            run(&mut device, now)[0]
        })
        .collect();
    assert_eq!(turns, ["f", "f", "o", "f", "f"], "its oldest waits all the time");
}

#[test]
fn a_patient_model_lets_one_go_first_whose_answers_are_wanted_soon() {
    let slo = |timeout| QueueSettings { default_timeout: Some(ms(timeout)), ..settings() };
    let device = DeviceSettings { turn_order: TurnOrder::Slo, ..ONE_LANE };
    let (mut device, patient, quick) = two(device, slo(1_000), slo(100));
    admit(&mut device, patient, 0, [ticket("patient")]);
    admit(&mut device, quick, 80, [ticket("quick")]);
    assert_eq!(run(&mut device, 80), ["quick"], "80 + 10 is before 0 + 100");
    admit(&mut device, quick, 91, [ticket("later")]);
    assert_eq!(run(&mut device, 91), ["patient"]);
}

#[test]
fn no_more_batches_run_than_there_are_lanes() {
    let (mut device, a, b) = two(DeviceSettings { lanes: 2, ..ONE_LANE }, settings(), settings());
    admit(&mut device, a, 0, ["a"; 12].map(ticket));
    admit(&mut device, b, 1, [ticket("b")]);
    let first = start(&mut device, 1);
    let second = start(&mut device, 1);
    assert_eq!((names(&first.tickets)[0], names(&second.tickets)[0]), ("a", "a"));
    assert_eq!(device.next(ms(1)).next, Next::Idle);
    assert_eq!(device.view(a).running, 2);
    device.finish(ms(2), first.id, Ended::Ran(ms(1)));
    assert_eq!(run(&mut device, 2)[0], "a");
    assert_eq!(run(&mut device, 2)[0], "b");
    device.finish(ms(3), second.id, Ended::Failed);
    assert_eq!(device.view(a).running, 0);
}

#[test]
fn a_model_with_one_lane_never_runs_two_batches_and_others_use_the_rest() {
    let single = QueueSettings { lanes: 1, ..settings() };
    let (mut device, a, b) = two(DeviceSettings { lanes: 3, ..ONE_LANE }, single, settings());
    admit(&mut device, a, 0, ["a"; 8].map(ticket));
    admit(&mut device, b, 1, ["b"; 5].map(ticket));
    let first = start(&mut device, 1);
    assert_eq!(names(&first.tickets)[0], "a");
    assert_eq!(names(&start(&mut device, 1).tickets)[0], "b");
    assert_eq!(names(&start(&mut device, 1).tickets)[0], "b");
    assert_eq!(device.next(ms(1)).next, Next::Idle, "a may not run twice, b has nothing left");
    device.finish(ms(5), first.id, Ended::Ran(ms(4)));
    assert_eq!(run(&mut device, 5)[0], "a");
}

#[test]
fn a_queue_whose_lanes_are_busy_wakes_nobody() {
    let single = QueueSettings { lanes: 1, max_queue_delay: ms(5), ..settings() };
    let other = QueueSettings { max_queue_delay: ms(50), ..settings() };
    let (mut device, a, b) = two(DeviceSettings { lanes: 2, ..ONE_LANE }, single, other);
    admit(&mut device, a, 0, [ticket("a1")]);
    let running = start(&mut device, 5).id;
    admit(&mut device, a, 5, [ticket("a2")]);
    assert_eq!(device.next(ms(5)).next, Next::Idle);
    admit(&mut device, b, 6, [ticket("b")]);
    assert_eq!(device.next(ms(6)).next, Next::WaitUntil(ms(56)));
    device.finish(ms(7), running, Ended::Failed);
    assert_eq!(device.next(ms(7)).next, Next::WaitUntil(ms(10)));
    assert_eq!(run(&mut device, 10), ["a2"]);
}

#[test]
fn a_removed_queue_gives_back_what_waited_in_it_in_order() {
    let (mut device, a, b) = two(ONE_LANE, settings(), settings());
    let running = occupy(&mut device, a, 0, 1);
    admit(&mut device, a, 1, [shaped(9, ticket("a1")), ticket("a2"), shaped(9, ticket("a3"))]);
    admit(&mut device, b, 2, [ticket("b")]);
    assert_eq!(names(&device.remove(a)), ["a1", "a2", "a3"]);
    assert_eq!(device.remove(a), []);
    assert_eq!(device.next(ms(2)).next, Next::Idle, "its batch still has the lane");
    device.finish(ms(9), running, Ended::Ran(ms(9)));
    assert_eq!(run(&mut device, 9), ["b"]);
    let refused = device.admit(ms(9), a, vec![ticket("late")]).unwrap_err();
    assert_eq!((refused.refusal, names(&refused.parts)), (Refusal::NotReady, vec!["late"]));
    assert_eq!((device.view(a), device.quote(ms(9), a)), (QueueView::default(), None));
    assert!(device.costs(a).is_none() && !device.is_full(ms(9), a));
    assert_eq!(device.refuses(ms(9), a, None), Some(Refusal::NotReady));
}

#[test]
fn a_batch_that_ends_twice_frees_one_lane() {
    let (mut device, queue) = one(settings());
    admit(&mut device, queue, 0, ["a"; 12].map(ticket));
    let first = start(&mut device, 0).id;
    device.finish(ms(1), first, Ended::Failed);
    device.finish(ms(1), first, Ended::Failed);
    start(&mut device, 1);
    assert_eq!(device.next(ms(1)).next, Next::Idle);
}

#[test]
fn what_batches_take_is_learned_and_failures_are_not() {
    let (mut device, queue) = one(settings());
    let scale = |device: &Device<Job>| device.costs(queue).unwrap().scale();
    admit(&mut device, queue, 0, [ticket("a")]);
    assert_eq!(run(&mut device, 0), ["a"]);
    assert!((scale(&device) - 1.0).abs() < 1e-9);
    admit(&mut device, queue, 1, [ticket("b")]);
    let batch = start(&mut device, 1);
    device.finish(ms(19), batch.id, Ended::Ran(ms(18)));
    assert!((scale(&device) - 1.2).abs() < 1e-9, "one of twice the cost: 1 + 0.2 x (2 - 1)");
}

#[test]
fn a_lane_is_told_when_to_ask() {
    let (mut device, queue) = one(QueueSettings { max_queue_delay: ms(5), lanes: 1, ..settings() });
    assert_eq!(device.next_at(ms(0)), None);
    admit(&mut device, queue, 0, [ticket("a")]);
    assert_eq!(device.next_at(ms(1)), Some(ms(5)));
    admit(&mut device, queue, 1, [rows(3, ticket("b"))]);
    assert_eq!(device.next_at(ms(1)), Some(ms(1)), "the batch is full");
    let running = start(&mut device, 1).id;
    admit(&mut device, queue, 2, [rows(4, ticket("c"))]);
    assert_eq!(device.next_at(ms(2)), None, "its lane is busy");
    device.finish(ms(3), running, Ended::Failed);
    assert_eq!(device.next_at(ms(3)), Some(ms(3)));
}

#[test]
fn what_a_sweep_found_is_worth_asking_for() {
    let (mut device, queue) =
        one(QueueSettings { max_queued_rows: 1, max_queue_delay: ms(50), ..settings() });
    admit(&mut device, queue, 0, [gone(ticket("gone"))]);
    assert_eq!(device.next_at(ms(1)), Some(ms(50)));
    assert!(!device.is_full(ms(1), queue));
    assert_eq!(device.next_at(ms(1)), Some(ms(1)));
    assert_eq!(dropped(&device.next(ms(1))), [("gone", Cause::Cancelled)]);
    assert_eq!(device.next_at(ms(1)), None);
}
