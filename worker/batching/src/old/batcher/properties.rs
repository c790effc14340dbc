//! Properties that hold for every history of arrivals, cancellations, turns and passing time.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{ShapeKey, old::Cause};

/// Something that happens to a queue.
#[derive(Debug, Clone)]
enum Step {
    Admit { rows: u32, shape: u64, patience_us: Option<u64> },
    Cancel { which: usize },
    Pass { us: u64 },
    Turn,
}

#[derive(Debug, Clone, PartialEq)]
struct Job {
    id: usize,
    gone: Rc<Cell<bool>>,
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.gone.get()
    }
}

/// What the test knows of a ticket that it sent.
struct Sent {
    rows: u32,
    shape: u64,
    arrived: Duration,
    deadline: Option<Duration>,
    gone: Rc<Cell<bool>>,
    answers: u32,
}

impl Sent {
    fn dead(&self, now: Duration) -> bool {
        self.gone.get() || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When it stops waiting for company, by the documented rule.
    fn due(&self, delay: Duration) -> Duration {
        let slack = self.deadline.map_or(delay, |deadline| (deadline - self.arrived) / 2);
        self.arrived + delay.min(slack)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let admit = (1_u32..6, 0_u64..3, prop::option::of(0_u64..20_000))
        .prop_map(|(rows, shape, patience_us)| Step::Admit { rows, shape, patience_us });
    let cancel = any::<usize>().prop_map(|which| Step::Cancel { which });
    let pass = (0_u64..8_000).prop_map(|us| Step::Pass { us });
    prop::collection::vec(prop_oneof![5 => admit, 1 => cancel, 2 => pass, 3 => Just(Step::Turn)], 1..120)
}

fn limits() -> impl Strategy<Value = Limits> {
    (0_u32..9, prop_oneof![Just(0_u64), 1_u64..10_000], 8_u32..40).prop_map(|(rows, delay_us, queued)| {
        Limits { max_batch_rows: rows, max_delay: Duration::from_micros(delay_us), max_queued_rows: queued }
    })
}

/// A queue, the time, and everything that was sent to it.
struct World {
    limits: Limits,
    batcher: Batcher<Job>,
    now: Duration,
    sent: Vec<Sent>,
    /// Last id that ran, by shape: batches of a shape follow the order of arrival.
    last_run: BTreeMap<u64, usize>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let batcher = Batcher::new(limits);
        Self { limits, batcher, now: Duration::ZERO, sent: Vec::new(), last_run: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Admit { rows, shape, patience_us } => self.admit(rows, shape, patience_us),
            Step::Cancel { which } => {
                if let Some(count) = which.checked_rem(self.sent.len()) {
                    self.sent[count].gone.set(true);
                }
            }
            Step::Pass { us } => self.now += Duration::from_micros(us),
            Step::Turn => _ = self.turn(),
        }
    }

    fn admit(&mut self, rows: u32, shape: u64, patience_us: Option<u64>) {
        // Rows of a model without a batch dimension count as one.
        let rows = if self.limits.max_batch_rows == 0 { 1 } else { rows.min(self.limits.max_batch_rows) };
        let deadline = patience_us.map(|us| self.now + Duration::from_micros(us));
        let (id, gone) = (self.sent.len(), Rc::new(Cell::new(false)));
        let payload = Job { id, gone: Rc::clone(&gone) };
        let before = self.batcher.queued_rows();
        let ticket = Ticket { rows, shape: ShapeKey(Box::new([shape])), deadline, payload };
        let mut sent = Sent { rows, shape, arrived: self.now, deadline, gone, answers: 0 };
        if let Err(refused) = self.batcher.admit(self.now, ticket) {
            assert_eq!(refused.ticket.payload.id, id, "another ticket came back");
            match refused.refusal {
                Refusal::Deadline => assert!(deadline.is_some_and(|d| d <= self.now)),
                Refusal::QueueFull => {
                    assert!(
                        before + u64::from(rows) > u64::from(self.limits.max_queued_rows),
                        "there was room"
                    );
                }
                other => panic!("refused for {other:?}"),
            }
            sent.answers += 1;
        }
        assert!(self.batcher.queued_rows() <= u64::from(self.limits.max_queued_rows), "the queue overflowed");
        self.sent.push(sent);
    }

    /// One turn of a free lane; true when a batch ran.
    fn turn(&mut self) -> bool {
        let turn = self.batcher.next(self.now);
        for dropped in turn.dropped {
            let sent = &mut self.sent[dropped.ticket.payload.id];
            sent.answers += 1;
            let dead = match dropped.cause {
                Cause::Cancelled => sent.gone.get(),
                Cause::Expired => sent.deadline.is_some_and(|deadline| deadline <= self.now),
            };
            assert!(dead, "{:?} is not why this ticket may be dropped", dropped.cause);
        }
        match turn.next {
            Next::Run(batch) => {
                self.check_batch(batch);
                return true;
            }
            Next::Idle => assert_eq!(self.live().count(), 0, "idle with work in the queue"),
            Next::WaitUntil(due) => self.check_wait(due),
        }
        false
    }

    fn check_batch(&mut self, batch: Batch<Job>) {
        assert!(!batch.tickets.is_empty());
        assert!(batch.rows <= self.limits.max_batch_rows.max(1), "{} rows", batch.rows);
        assert_eq!(batch.rows, batch.tickets.iter().map(|t| t.rows).sum::<u32>());
        let shape = self.sent[batch.tickets[0].payload.id].shape;
        for ticket in batch.tickets {
            let id = ticket.payload.id;
            let sent = &mut self.sent[id];
            sent.answers += 1;
            assert!(!sent.dead(self.now), "a dead ticket ran");
            assert_eq!(sent.shape, shape, "two shapes in one batch");
            let last = self.last_run.insert(shape, id);
            assert!(last.is_none_or(|last| last < id), "{id} ran after {last:?}");
        }
    }

    fn check_wait(&self, due: Duration) {
        assert!(self.limits.max_delay > Duration::ZERO, "waits although the delay is zero");
        assert!(due > self.now, "waits for the past");
        let mut rows = BTreeMap::new();
        for sent in self.live() {
            assert!(sent.due(self.limits.max_delay) >= due, "would oversleep a ticket");
            *rows.entry(sent.shape).or_insert(0) += sent.rows;
        }
        let full = rows.values().any(|&rows| rows >= self.limits.max_batch_rows);
        assert!(!full, "waits with a full batch at hand");
    }

    /// Tickets that are queued and could run now.
    fn live(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.answers == 0 && !sent.dead(self.now))
    }
}

proptest! {
    #[test]
    fn every_ticket_is_answered_exactly_once_in_order_and_within_limits(limits in limits(), steps in steps()) {
        let mut world = World::new(limits);
        for step in steps {
            world.step(step);
        }
        world.now += limits.max_delay + Duration::from_millis(1);
        while world.turn() {}
        prop_assert_eq!(world.batcher.queued_rows(), 0);
        for (id, sent) in world.sent.iter().enumerate() {
            prop_assert_eq!(sent.answers, 1, "ticket {} was answered {} times", id, sent.answers);
        }
    }

    #[test]
    fn without_a_delay_a_live_ticket_never_waits_for_a_free_lane(limits in limits(), steps in steps()) {
        let mut world = World::new(Limits { max_delay: Duration::ZERO, ..limits });
        for step in steps {
            world.step(step);
            let live = world.live().count();
            prop_assert!(live == 0 || world.turn(), "{} tickets were kept waiting", live);
        }
    }

    #[test]
    fn a_lane_that_sleeps_as_told_serves_everybody_by_their_due_time(limits in limits(), steps in steps()) {
        let mut world = World::new(limits);
        for step in steps {
            world.step(step);
            while world.turn() {}
            let late = world.live().find(|sent| sent.due(limits.max_delay) <= world.now);
            prop_assert!(late.is_none(), "a ticket that was due is still queued");
        }
    }

    #[test]
    fn a_shape_is_never_held_up_by_tickets_of_another(foreign in 1_u64..8, rows in 1_u32..8) {
        let limits = Limits { max_batch_rows: 8, max_delay: Duration::ZERO, max_queued_rows: 1_000 };
        let mut world = World::new(limits);
        world.admit(rows, 0, None);
        for shape in 1..=foreign {
            world.admit(1, shape, None);
        }
        world.admit(8 - rows, 0, None);
        let Next::Run(batch) = world.batcher.next(world.now).next else { panic!("nothing ran") };
        let ids: Vec<_> = batch.tickets.iter().map(|t| t.payload.id).collect();
        prop_assert_eq!(ids, if rows == 8 { vec![0] } else { vec![0, world.sent.len() - 1] });
    }
}
