//! Model checking of the hand-over between fronts and lanes: the worker's own file, run under thousands of schedules.
//!
//! A model of the lanes runs batches, a model of the fronts admits tickets and waits for the answers. A ticket that
//! nobody answers, and a lane that nobody wakes, is a deadlock, which the checker finds and reports with the schedule
//! that leads to it. Seeds are fixed; `SHUTTLE_RANDOM_SEED` tries others.

#![cfg(test)]

#[path = "../../src/lanes/handover.rs"]
mod handover;
mod sync;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shuttle::{
    Config, Runner,
    rand::{Rng, thread_rng},
    scheduler::{PctScheduler, RandomScheduler},
    sync::{
        atomic::AtomicBool,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};
use weir_batching::{
    BatchId, Cancel, Cause, DeviceSettings, Dropped, Ended, QueueId, QueueSettings, ShapeKey, Ticket,
    TurnOrder,
};
use weir_protocol::Refusal;

use self::{
    handover::{Bed, Handover, Work},
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

/// How a ticket left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ran,
    Dropped(Cause),
}

struct Request {
    gone: Arc<AtomicBool>,
    reply: Sender<Answer>,
    /// To be waited for by the forward pass.
    until: Option<Receiver<()>>,
}

impl Cancel for Request {
    fn cancelled(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// The requester's end of a ticket.
struct Asked {
    answer: Receiver<Answer>,
    gone: Arc<AtomicBool>,
}

impl Asked {
    /// Waits for the answer, and sees that no second one comes.
    fn answer(&self) -> Answer {
        let answer = self.answer.recv().expect("the ticket was lost");
        assert!(self.answer.recv().is_err(), "answered twice");
        answer
    }
}

fn ticket(rows: u32) -> (Ticket<Request>, Asked) {
    let (reply, answer) = channel();
    let gone = Arc::new(AtomicBool::new(false));
    let payload = Request { gone: Arc::clone(&gone), reply, until: None };
    let ticket = Ticket { rows, units: rows, shape: ShapeKey::default(), class: 0, deadline: None, payload };
    (ticket, Asked { answer, gone })
}

/// A device with its lanes.
struct Bench {
    handover: Arc<Handover<Request>>,
    lanes: Vec<thread::JoinHandle<()>>,
    running: Arc<BTreeMap<QueueId, AtomicU32>>,
    queues: Vec<QueueId>,
}

/// A queue that takes `max_queue_delay` for company, of a model that may run so many batches at once.
fn queue(lanes: u32, max_queue_delay: Duration) -> QueueSettings {
    QueueSettings {
        max_batch_rows: 2,
        max_queue_delay,
        preferred_batch_rows: Vec::new(),
        max_queued_rows: 4,
        default_timeout: None,
        ageing: Duration::from_secs(1),
        lanes,
        costs: Vec::new(),
        useful_rows: Vec::new(),
    }
}

impl Bench {
    fn new(lanes: u32, queues: &[QueueSettings]) -> Self {
        let settings = DeviceSettings { lanes, turn_order: TurnOrder::Arrival };
        let handover = Arc::new(Handover::new(settings));
        let limits: BTreeMap<_, _> =
            queues.iter().map(|settings| (handover.add(settings.clone()), settings.lanes)).collect();
        let ids = limits.keys().copied().collect();
        let running: Arc<BTreeMap<_, _>> =
            Arc::new(limits.keys().map(|id| (*id, AtomicU32::new(0))).collect());
        let lanes = (0..lanes)
            .map(|_| {
                let lane = Lane {
                    handover: Arc::clone(&handover),
                    running: Arc::clone(&running),
                    limits: limits.clone(),
                };
                thread::spawn(move || lane.run())
            })
            .collect();
        Self { handover, lanes, running, queues: ids }
    }

    fn running(&self, queue: usize) -> u32 {
        self.running[&self.queues[queue]].load(Ordering::SeqCst)
    }

    fn front(&self, queue: usize) -> Front {
        Front { handover: Arc::clone(&self.handover), queue: self.queues[queue] }
    }

    /// Ends the lanes and waits for them: one that nobody wakes is a deadlock.
    fn end(self) {
        self.handover.end();
        self.ended();
    }

    /// Waits for lanes that were told to end.
    fn ended(self) {
        for lane in self.lanes {
            lane.join().unwrap();
        }
        for queue in self.queues {
            assert_eq!(self.handover.view(queue).queued_rows, 0);
            assert_eq!(self.running[&queue].load(Ordering::SeqCst), 0);
        }
    }
}

/// A model of a lane thread.
struct Lane {
    handover: Arc<Handover<Request>>,
    running: Arc<BTreeMap<QueueId, AtomicU32>>,
    limits: BTreeMap<QueueId, u32>,
}

impl Lane {
    fn run(&self) {
        let bed = Bed::default();
        let mut ended: Option<(BatchId, Ended)> = None;
        while let Some(Work { dropped, batch }) = self.handover.take(&bed, now, ended.take()) {
            for Dropped { cause, ticket } in dropped {
                _ = ticket.payload.reply.send(Answer::Dropped(cause));
            }
            let Some(batch) = batch else { continue };
            let running = &self.running[&batch.queue];
            let others = running.fetch_add(1, Ordering::SeqCst);
            assert!(others < self.limits[&batch.queue], "more batches of a model than it may run");
            thread::yield_now();
            for ticket in batch.tickets {
                if let Some(until) = ticket.payload.until {
                    until.recv().unwrap();
                }
                _ = ticket.payload.reply.send(Answer::Ran);
            }
            running.fetch_sub(1, Ordering::SeqCst);
            let good = thread_rng().gen_bool(0.5);
            let how = if good { Ended::Ran(Duration::from_micros(10)) } else { Ended::Failed };
            ended = Some((batch.id, how));
        }
    }
}

/// Who sends requests to one queue.
struct Front {
    handover: Arc<Handover<Request>>,
    queue: QueueId,
}

impl Front {
    fn admit(&self, ticket: Ticket<Request>) -> Result<(), Refusal> {
        let admitted = self.handover.admit(now, self.queue, vec![ticket]);
        admitted.map(drop).map_err(|refused| refused.refusal)
    }

    /// Sends one request after another and waits for each answer.
    fn ask(&self, times: usize) {
        for _ in 0..times {
            let (ticket, asked) = ticket(1);
            self.admit(ticket).unwrap();
            assert_eq!(asked.answer(), Answer::Ran);
        }
    }
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
        assert!(handover.admit(now, bench.queues[0], vec![first, second]).is_ok());
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
                        front.handover.refuses(now, front.queue, None);
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
        let bench = Bench::new(2, &[queue(1, Duration::ZERO)]);
        let admitted = [2, 2].map(|rows| {
            let (ticket, asked) = ticket(rows);
            bench.front(0).admit(ticket).unwrap();
            asked
        });
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
