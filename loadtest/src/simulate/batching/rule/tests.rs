//! The rules of other servers, each on a queue small enough to follow by hand: 8 ms + 1 ms a row.

use weir_batching::BatchCost;

use super::*;

const COST: BatchCost = BatchCost { base: ms(8), per_unit: ms(1) };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A request of one row that arrives at 0.
fn request(id: u64, deadline: u64) -> Request {
    Request {
        id,
        stream: 0,
        model: 0,
        bucket: 0,
        rows: 1,
        units: 1,
        class: 0,
        arrived: Duration::ZERO,
        deadline: Some(ms(deadline)),
    }
}

/// A rule with requests 0, 1, 2.. in its queue, by their deadlines in ms.
fn queued(mut batcher: impl Batcher, deadlines: &[u64]) -> impl Batcher {
    for (id, deadline) in deadlines.iter().enumerate() {
        assert_eq!(batcher.offer(Duration::ZERO, request(id as u64, *deadline)), Offer::Queued(None));
    }
    batcher
}

/// Ids of what runs at `now` and of what is dropped.
fn turn(batcher: &mut impl Batcher, now: u64) -> (Vec<u64>, Vec<u64>) {
    let mut dropped = Vec::new();
    let run = match batcher.next(ms(now), &mut dropped) {
        Turn::Run(requests) => requests,
        Turn::Idle | Turn::WaitUntil(_) => Vec::new(),
    };
    let ids = |requests: &[Request]| requests.iter().map(|request| request.id).collect();
    (ids(&run), ids(&dropped))
}

#[test]
fn greedy_takes_the_oldest_whatever_their_deadlines() {
    let mut greedy = queued(fifo::Greedy::new(2), &[5, 90, 50]);
    assert_eq!(turn(&mut greedy, 20), (vec![0, 1], vec![]));
    assert_eq!(turn(&mut greedy, 20), (vec![2], vec![]));
    assert_eq!(greedy.next(ms(20), &mut Vec::new()), Turn::Idle);
}

#[test]
fn a_batch_never_has_more_rows_than_the_model_takes() {
    let mut greedy = fifo::Greedy::new(4);
    for (id, rows) in [(0, 3), (1, 2), (2, 1)] {
        greedy.offer(Duration::ZERO, Request { rows, ..request(id, 50) });
    }
    assert_eq!(turn(&mut greedy, 0).0, [0]);
    assert_eq!(turn(&mut greedy, 0).0, [1, 2]);
}

#[test]
fn a_capped_queue_refuses_beyond_four_full_batches() {
    let mut capped = queued(fifo::Greedy::capped(2), &[50; 8]);
    assert_eq!(capped.offer(Duration::ZERO, request(8, 50)), Offer::Refused);
    assert_eq!(turn(&mut capped, 0).0, [0, 1]);
    assert_eq!(capped.offer(Duration::ZERO, request(9, 50)), Offer::Queued(None));
}

#[test]
fn what_has_expired_is_left_out_and_what_has_a_moment_left_runs() {
    let mut dropping = queued(fifo::Greedy::without_expired(4), &[20, 21, 10]);
    assert_eq!(turn(&mut dropping, 20), (vec![1], vec![0, 2]));
}

#[test]
fn aimd_grows_by_a_row_and_shrinks_by_a_tenth() {
    let mut aimd = queued(aimd::Aimd::new(32), &[50; 40]);
    for rows in [1, 2, 3] {
        assert_eq!(turn(&mut aimd, 0).0.len(), rows);
        // Exactly half of the deadline: it fits twice.
        aimd.finish(ms(25), &[request(0, 50)], ms(25));
    }
    assert_eq!(turn(&mut aimd, 0).0.len(), 4);
    aimd.finish(ms(26), &[request(0, 50)], ms(26));
    assert_eq!(turn(&mut aimd, 0).0.len(), 3, "3.6 rows");
}

#[test]
fn early_drop_sizes_its_window_to_fit_twice_and_drops_what_stands_before_it() {
    // 17 rows take 25 ms, half of the deadline.
    let mut nexus = queued(nexus::EarlyDrop::new(COST, 32, Some(ms(50))), &[50; 20]);
    assert_eq!(turn(&mut nexus, 25).0.len(), 17);
    // 2 rows take 10 ms: the first would be late with two, so it goes, and the other runs alone.
    let mut nexus = queued(nexus::EarlyDrop::new(COST, 32, Some(ms(50))), &[49, 50]);
    assert_eq!(turn(&mut nexus, 40), (vec![1], vec![0]));
}

#[test]
fn the_best_window_in_order_of_arrival_skips_a_request_that_keeps_it_small() {
    // Alone 9 ms, two 10, three 11. From 0 only it itself is in time; from 1 all three others are.
    let mut window = queued(window::BestWindow::new(COST, 32), &[29, 50, 60, 70]);
    assert_eq!(turn(&mut window, 20), (vec![1, 2, 3], vec![]));
    assert_eq!(turn(&mut window, 21), (vec![], vec![0]), "now it cannot be met even alone");
}

#[test]
fn a_window_in_order_of_arrival_trusts_its_first_request_for_the_others() {
    // What mixed deadlines do to it: 1 is late in a batch of three, and nobody asks.
    let mut window = queued(window::BestWindow::new(COST, 32), &[300, 29, 300]);
    assert_eq!(turn(&mut window, 20), (vec![0, 1, 2], vec![]));
    let mut sorted = queued(window::BestWindow::by_deadline(COST, 32), &[300, 29, 300]);
    assert_eq!(turn(&mut sorted, 20), (vec![0, 2], vec![]), "two rows beat the one");
    let mut sorted = queued(window::BestWindow::by_deadline(COST, 32), &[300, 31, 300]);
    assert_eq!(turn(&mut sorted, 20), (vec![1, 0, 2], vec![]));
}

#[test]
fn the_margin_takes_batches_for_a_quarter_longer() {
    // 2 rows: 10 ms, with the margin 12.5.
    for (deadline, with, without) in [(12, 1, 2), (13, 2, 2)] {
        let deadlines = [deadline; 2];
        let mut exact = queued(window::BestWindow::new(COST, 32), &deadlines);
        let mut careful = queued(window::BestWindow::with_margin(COST, 32), &deadlines);
        assert_eq!(
            (turn(&mut careful, 0).0.len(), turn(&mut exact, 0).0.len()),
            (with, without),
            "{deadline}"
        );
    }
}
