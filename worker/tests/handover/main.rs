//! Model checking of the hand-over between fronts and lanes: the worker's own file, run under thousands of schedules.
//!
//! A model of the lanes runs batches, a model of the fronts admits tickets and waits for the answers. A ticket that
//! nobody answers, and a lane that nobody wakes, is a deadlock, which the checker finds and reports with the schedule
//! that leads to it. Seeds are fixed; `SHUTTLE_RANDOM_SEED` tries others.

#![cfg(test)]

mod bench;
#[path = "../../src/lanes/handover.rs"]
mod handover;
mod sync;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler},
    sync::mpsc::channel,
    thread,
};
use weir_batching::Cause;
use weir_protocol::Refusal;

use self::{
    bench::{Answer, Bench, queue, ticket},
    sync::{now, restart_clock},
};

/// Of each scenario: half of them uniformly random, half with threads that go on until something stops them, which
/// finds what needs a thread to be held up for long.
const SCHEDULES: usize = 1_200;
const SEED: u64 = 0x5ea1;
/// Changes of priority in one schedule of the second kind.
const DEPTH: usize = 4;
const STACK_BYTES: usize = 256 << 10;

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(move || {
        restart_clock();
        scenario();
    });
    let config = || {
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        config
    };
    let again = Arc::clone(&scenario);
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES / 2);
    Runner::new(random, config()).run(move || scenario());
    let lasting = PctScheduler::new_from_seed(SEED, DEPTH, SCHEDULES / 2);
    Runner::new(lasting, config()).run(move || again());
}

const DELAY: Duration = Duration::from_micros(50);

/// Requests to two models, one of which waits for company; nothing wakes a lane but what the hand-over does.
#[test]
fn every_request_is_answered_and_no_lane_sleeps_over_one() {
    check(|| {
        let bench = Bench::new(2, &[queue(1, Duration::ZERO), queue(2, DELAY)]);
        let fronts: Vec<_> = [(0, 2), (0, 1), (1, 2), (1, 1)]
            .into_iter()
            .map(|(queue, times)| {
                let front = bench.front(queue);
                thread::spawn(move || front.ask(times))
            })
            .collect();
        for front in fronts {
            front.join().unwrap();
        }
        bench.end();
    });
}

/// A lane that sleeps until a far time is woken for what can run before.
#[test]
fn a_lane_that_waits_for_company_serves_others_meanwhile() {
    check(|| {
        let bench = Bench::new(1, &[queue(1, Duration::from_secs(86_400)), queue(1, Duration::ZERO)]);
        let (alone, alone_asked) = ticket(1);
        bench.front(0).admit(alone).unwrap();
        bench.front(1).ask(2);
        let (company, company_asked) = ticket(1);
        bench.front(0).admit(company).unwrap();
        assert_eq!((alone_asked.answer(), company_asked.answer()), (Answer::Ran, Answer::Ran));
        bench.end();
    });
}

/// A request of several parts becomes several batches at once, and each has a lane.
#[test]
fn the_parts_of_a_request_run_side_by_side() {
    check(|| {
        let bench = Bench::new(2, &[queue(2, Duration::ZERO)]);
        // The first ends when the second runs, so one lane alone would never be done.
        let (mut first, first_asked) = ticket(2);
        let (second, second_asked) = ticket(2);
        let (word, until) = channel();
        first.payload.until = Some(until);
        let handover = &bench.handover;
        assert!(handover.admit(now, bench.queues[0], vec![first, second]).0.is_ok());
        assert_eq!(second_asked.answer(), Answer::Ran);
        word.send(()).unwrap();
        assert_eq!(first_asked.answer(), Answer::Ran);
        bench.end();
    });
}

/// Models that hang do not stop the one that a free lane could run, whoever was woken for what.
#[test]
fn a_free_lane_serves_the_others_while_models_hang() {
    check(|| {
        let one = || queue(1, DELAY);
        let bench = Bench::new(3, &[one(), one(), one()]);
        let hung: Vec<_> = (0..2)
            .map(|queue| {
                let (mut ticket, asked) = ticket(1);
                let (word, until) = channel();
                ticket.payload.until = Some(until);
                let front = bench.front(queue);
                let front = thread::spawn(move || front.admit(ticket).unwrap());
                (word, asked, front)
            })
            .collect();
        bench.front(2).ask(2);
        for (word, asked, front) in hung {
            word.send(()).unwrap();
            front.join().unwrap();
            assert_eq!(asked.answer(), Answer::Ran);
        }
        bench.end();
    });
}

/// Requesters go, deadlines pass and queues fill up, at any moment.
#[test]
fn cancelled_expired_and_refused_tickets_leave_once_too() {
    check(|| {
        let bench = Bench::new(2, &[queue(1, DELAY), queue(1, Duration::ZERO)]);
        let fronts: Vec<_> = (0..3)
            .map(|index| {
                let front = bench.front(index % 2);
                thread::spawn(move || {
                    let mut waiting = Vec::new();
                    for rows in [1, 2] {
                        let (mut ticket, asked) = ticket(rows);
                        if index == 2 {
                            ticket.deadline = Some(now() + DELAY / 2);
                        }
                        match front.admit(ticket) {
                            Ok(()) => waiting.push(asked),
                            Err(refusal) => {
                                assert!(matches!(refusal, Refusal::QueueFull | Refusal::Deadline));
                                assert!(asked.answer.recv().is_err(), "answered though it was refused");
                            }
                        }
                        front.refuses();
                    }
                    if index == 1 {
                        waiting.iter().for_each(|asked| asked.gone.store(true, Ordering::SeqCst));
                    }
                    for asked in waiting {
                        let answer = asked.answer();
                        let gone = asked.gone.load(Ordering::SeqCst);
                        assert!(gone || answer != Answer::Dropped(Cause::Cancelled));
                    }
                })
            })
            .collect();
        for front in fronts {
            front.join().unwrap();
        }
        bench.end();
    });
}

/// However long a lane is busy, those that a front finds gone are let go at once.
#[test]
fn whom_a_front_finds_gone_need_not_wait_for_a_lane() {
    check(|| {
        let bench = Bench::new(1, &[queue(1, Duration::ZERO)]);
        let front = bench.front(0);
        let (mut held, held_asked) = ticket(2);
        let (word, until) = channel();
        held.payload.until = Some(until);
        front.admit(held).unwrap();
        while bench.running(0) == 0 {
            thread::yield_now();
        }
        let gone = [2, 2].map(|rows| {
            let (ticket, asked) = ticket(rows);
            front.admit(ticket).unwrap();
            asked.gone.store(true, Ordering::SeqCst);
            asked
        });
        assert_eq!(front.refuses(), None);
        assert!(gone.iter().all(|asked| asked.answer() == Answer::Dropped(Cause::Cancelled)));
        word.send(()).unwrap();
        assert_eq!(held_asked.answer(), Answer::Ran);
        bench.end();
    });
}

/// Closing waits for what was let in and for nothing else, whatever still comes, also to its neighbour.
#[test]
fn a_queue_closes_when_what_was_in_it_has_run() {
    check(|| {
        let bench = Bench::new(2, &[queue(2, Duration::ZERO), queue(1, DELAY)]);
        let fronts: Vec<_> = (0..3)
            .map(|index| {
                let front = bench.front(index % 2);
                thread::spawn(move || {
                    for _ in 0..2 {
                        let (ticket, asked) = ticket(1);
                        match front.admit(ticket) {
                            Ok(()) => assert_eq!(asked.answer(), Answer::Ran),
                            Err(refusal) => assert_eq!((index % 2, refusal), (0, Refusal::NotReady)),
                        }
                    }
                })
            })
            .collect();
        let closing = bench.front(0);
        closing.handover.close(closing.queue);
        assert_eq!(bench.running(0), 0, "a batch of a closed queue runs");
        let (late, _asked) = ticket(1);
        assert_eq!(closing.admit(late), Err(Refusal::NotReady));
        assert!(closing.handover.quote(now, closing.queue).is_none());
        assert!(closing.handover.expected(now, closing.queue).is_none());
        for front in fronts {
            front.join().unwrap();
        }
        bench.end();
    });
}

/// From the moment when closing begins nothing gets in, though a batch is still running.
#[test]
fn a_closing_queue_lets_nobody_in() {
    check(|| {
        let bench = Bench::new(1, &[queue(1, Duration::ZERO)]);
        let (mut held, held_asked) = ticket(1);
        let (word, until) = channel();
        held.payload.until = Some(until);
        bench.front(0).admit(held).unwrap();
        let closing = bench.front(0);
        let closing = thread::spawn(move || closing.handover.close(closing.queue));
        let mut waiting = vec![held_asked];
        loop {
            let (ticket, asked) = ticket(1);
            match bench.front(0).admit(ticket) {
                Ok(()) => waiting.push(asked),
                Err(Refusal::NotReady) => break,
                Err(refusal) => assert_eq!(refusal, Refusal::QueueFull),
            }
            thread::yield_now();
        }
        word.send(()).unwrap();
        closing.join().unwrap();
        assert!(waiting.iter().all(|asked| asked.answer() == Answer::Ran));
        bench.end();
    });
}

/// The last of a closing queue may leave it without running.
#[test]
fn a_queue_of_the_gone_closes() {
    check(|| {
        let bench = Bench::new(1, &[queue(1, DELAY)]);
        let (ticket, asked) = ticket(1);
        let front = bench.front(0);
        front.admit(ticket).unwrap();
        asked.gone.store(true, Ordering::SeqCst);
        front.handover.close(front.queue);
        asked.answer();
        bench.end();
    });
}

/// Two queues close at once, on two threads, while lanes are being ended.
#[test]
fn closing_everything_at_once_ends() {
    check(|| {
        let bench = Bench::new(2, &[queue(1, Duration::ZERO), queue(1, DELAY)]);
        let ask = |queue| {
            let (ticket, asked) = ticket(1);
            bench.front(queue).admit(ticket).unwrap();
            asked
        };
        let asked = [ask(0), ask(1)];
        let closing = [0, 1].map(|queue| {
            let front = bench.front(queue);
            thread::spawn(move || front.handover.close(front.queue))
        });
        bench.handover.end();
        for closing in closing {
            closing.join().unwrap();
        }
        assert!(asked.iter().all(|asked| asked.answer() == Answer::Ran));
        bench.end();
    });
}

/// A lane that sleeps beside the one that runs the last batch ends too, and nothing is let in for nobody to run.
#[test]
fn lanes_end_together_after_what_is_queued() {
    check(|| {
        let bench = Bench::new(2, &[queue(1, DELAY)]);
        let (parts, admitted): (Vec<_>, Vec<_>) = [2, 1].map(ticket).into_iter().unzip();
        assert!(bench.handover.admit(now, bench.queues[0], parts).0.is_ok());
        bench.handover.end();
        let (late, _asked) = ticket(1);
        assert_eq!(bench.front(0).admit(late), Err(Refusal::NotReady));
        assert!(admitted.iter().all(|asked| asked.answer() == Answer::Ran));
        bench.ended();
    });
}

/// What waits in a removed queue comes back, what runs is answered, and the lanes go on.
#[test]
fn a_removed_queue_gives_back_what_waited() {
    check(|| {
        let bench = Bench::new(1, &[queue(1, DELAY), queue(1, Duration::ZERO)]);
        let front = bench.front(0);
        let (one, asked) = ticket(1);
        front.admit(one).unwrap();
        let other = bench.front(1);
        let beside = thread::spawn(move || other.ask(2));
        let left = front.handover.remove(front.queue);
        assert!(left.len() <= 1);
        for ticket in left {
            ticket.payload.reply.send(Answer::Dropped(Cause::Cancelled)).unwrap();
        }
        asked.answer();
        beside.join().unwrap();
        bench.end();
    });
}
