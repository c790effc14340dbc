//! A device, the time, and everything that was sent to it: checks each step of any history.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use proptest::prelude::*;

use super::*;

/// Something that happens to a device.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Admit(Request),
    Cancel { which: usize },
    Pass { us: u64 },
    Turn,
    Finish { which: usize, percent: u64 },
    Remove { queue: usize },
}

/// A request to one of the queues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    queue: usize,
    parts: u32,
    rows: u32,
    shape: u64,
    class: u8,
    patience_us: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    pub(super) id: usize,
    gone: Rc<Cell<bool>>,
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.gone.get()
    }
}

/// What the test knows of a ticket that it sent.
pub(super) struct Sent {
    queue: QueueId,
    pub(super) rows: u32,
    shape: u64,
    class: u8,
    pub(super) arrived: Duration,
    pub(super) deadline: Option<Duration>,
    gone: Rc<Cell<bool>>,
    pub(super) answers: u32,
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

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let patience = prop::option::weighted(0.7, 0_u64..60_000);
    let admit = (0_usize..3, 1_u32..3, 1_u32..6, 0_u64..2, 0_u8..3, patience).prop_map(
        |(queue, parts, rows, shape, class, patience_us)| {
            Step::Admit(Request { queue, parts, rows, shape, class, patience_us })
        },
    );
    let cancel = any::<usize>().prop_map(|which| Step::Cancel { which });
    let pass = (0_u64..12_000).prop_map(|us| Step::Pass { us });
    let finish = (any::<usize>(), 50_u64..200).prop_map(|(which, percent)| Step::Finish { which, percent });
    let remove = (0_usize..3).prop_map(|queue| Step::Remove { queue });
    let step = prop_oneof![
        12 => admit, 2 => cancel, 4 => pass, 6 => Just(Step::Turn), 4 => finish, 1 => remove
    ];
    prop::collection::vec(step, 1..150)
}

pub(super) fn device() -> impl Strategy<Value = DeviceSettings> {
    let turn_order = prop_oneof![Just(TurnOrder::Arrival), Just(TurnOrder::Slo)];
    (1_u32..4, turn_order).prop_map(|(lanes, turn_order)| DeviceSettings { lanes, turn_order })
}

pub(super) fn queue() -> impl Strategy<Value = QueueSettings> {
    let sizes = prop_oneof![2 => Just(vec![]), 1 => Just(vec![2]), 1 => Just(vec![2, 4])];
    let delay = prop_oneof![Just(0_u64), 1_u64..10_000];
    let rest = (1_u32..3, any::<bool>(), prop::option::of(1_u32..6), prop::option::of(1_u64..500));
    (5_u32..9, delay, sizes, 10_u32..60, 1_u64..50, rest).prop_map(
        |(max, delay_us, preferred, queued, ageing_ms, (lanes, known, useful, timeout_ms))| QueueSettings {
            max_batch_rows: max,
            max_queue_delay: Duration::from_micros(delay_us),
            preferred_batch_rows: preferred,
            max_queued_rows: queued,
            default_timeout: timeout_ms.map(ms),
            ageing: ms(ageing_ms),
            lanes,
            costs: if known { vec![(key(0), COST), (key(1), COST.scaled(0.25))] } else { vec![] },
            useful_rows: useful.map(|rows| (key(0), rows)).into_iter().collect(),
        },
    )
}

fn key(shape: u64) -> ShapeKey {
    ShapeKey(Box::new([shape]))
}

/// A device, the time, and everything that was sent to it.
pub(super) struct World {
    settings: Vec<QueueSettings>,
    queues: Vec<QueueId>,
    lanes: u32,
    pub(super) device: Device<Job>,
    pub(super) now: Duration,
    pub(super) sent: Vec<Sent>,
    /// What runs: the batch, its queue, and when it began.
    running: Vec<(BatchId, QueueId, Duration)>,
    /// Last ticket that ran of those that nothing tells apart.
    last_run: BTreeMap<(QueueId, u64, u8, u32, Option<Duration>), usize>,
}

impl World {
    pub(super) fn new(device: DeviceSettings, settings: Vec<QueueSettings>) -> Self {
        let lanes = device.lanes;
        let mut device = Device::new(device);
        let queues = settings.iter().map(|settings| device.add(settings.clone())).collect();
        let (sent, running) = (Vec::new(), Vec::new());
        let last_run = BTreeMap::new();
        Self { settings, queues, lanes, device, now: Duration::ZERO, sent, running, last_run }
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Admit(request) => self.admit(request),
            Step::Cancel { which } => {
                if let Some(which) = which.checked_rem(self.sent.len()) {
                    self.sent[which].gone.set(true);
                }
            }
            Step::Pass { us } => self.now += Duration::from_micros(us),
            Step::Turn => _ = self.turn(),
            Step::Finish { which, percent } => self.finish(which, percent),
            Step::Remove { queue } => self.remove(queue),
        }
        self.check_views();
    }

    fn admit(&mut self, Request { queue, parts, rows, shape, class, patience_us }: Request) {
        let (queue, settings) = (self.queues[queue], self.settings[queue].clone());
        let rows = rows.min(settings.max_batch_rows);
        let deadline = patience_us.map(|us| self.now + Duration::from_micros(us));
        let tickets: Vec<_> = (0..parts)
            .map(|_| {
                let (id, gone) = (self.sent.len(), Rc::new(Cell::new(false)));
                let payload = Job { id, gone: Rc::clone(&gone) };
                let (arrived, answers) = (self.now, 0);
                self.sent.push(Sent { queue, rows, shape, class, arrived, deadline, gone, answers });
                Ticket { rows, units: rows, shape: key(shape), class, deadline, payload }
            })
            .collect();
        let before = self.device.view(queue).queued_rows;
        let first = tickets[0].payload.id;
        let certain = self.device.refuses(self.now, queue, deadline);
        let result = self.device.admit(self.now, queue, tickets);
        if let Some(certain) = certain {
            let refusal = result.as_ref().err().map(|refused| refused.refusal);
            assert!(refusal.is_some(), "{certain:?} was certain, and it got in");
        }
        let Err(refused) = result else {
            let queued = self.device.view(queue).queued_rows;
            let limit = u64::from(settings.max_queued_rows);
            assert!(queued <= limit || queued == u64::from(rows * parts), "the queue overflowed");
            return;
        };
        let ids: Vec<_> = refused.parts.iter().map(|part| part.payload.id).collect();
        assert_eq!(ids, (first..first + parts as usize).collect::<Vec<_>>(), "other tickets came back");
        match refused.refusal {
            Refusal::Deadline => assert!(deadline.is_some(), "refused for a deadline that it has not"),
            Refusal::QueueFull => {
                assert!(
                    before + u64::from(rows * parts) > u64::from(settings.max_queued_rows),
                    "there was room"
                );
            }
            other => panic!("refused for {other:?}"),
        }
        for id in ids {
            self.sent[id].answers += 1;
        }
    }

    fn finish(&mut self, which: usize, percent: u64) {
        if let Some(which) = which.checked_rem(self.running.len()) {
            let (batch, _, started) = self.running.swap_remove(which);
            let took = (self.now - started).max(COST.of(4) * u32::try_from(percent).unwrap() / 100);
            self.device.finish(self.now, batch, Ended::Ran(took));
        }
    }

    /// Removes a queue and puts an empty one in its place.
    fn remove(&mut self, queue: usize) {
        let id = self.queues[queue];
        let mut last = None;
        for ticket in self.device.remove(id) {
            let sent = &mut self.sent[ticket.payload.id];
            assert_eq!(sent.queue, id, "a ticket of another queue came back");
            assert!(last < Some(ticket.payload.id), "not in the order of arrival");
            last = Some(ticket.payload.id);
            sent.answers += 1;
        }
        self.queues[queue] = self.device.add(self.settings[queue].clone());
    }

    /// One turn of a lane; true when a batch ran.
    pub(super) fn turn(&mut self) -> bool {
        let at = self.device.next_at(self.now);
        let turn = self.device.next(self.now);
        for dropped in turn.dropped {
            let sent = &mut self.sent[dropped.ticket.payload.id];
            sent.answers += 1;
            let over = sent.deadline.is_some_and(|deadline| deadline <= self.now);
            let right = match dropped.cause {
                Cause::Cancelled => sent.gone.get(),
                // Found by a sweep before this turn, it may have been given up since.
                Cause::Expired => over,
                Cause::Hopeless => sent.deadline.is_some() && !over && !sent.gone.get(),
            };
            assert!(right, "{:?} is not why this ticket may be dropped", dropped.cause);
        }
        match turn.next {
            Next::Run(batch) => {
                assert!(at.is_some_and(|at| at <= self.now), "a lane was told to ask at {at:?}, too late");
                self.check_batch(batch);
                return true;
            }
            Next::Idle => assert_eq!(self.runnable().count(), 0, "idle with work in the queue"),
            Next::WaitUntil(due) => {
                assert!(at.is_some_and(|at| at <= due), "a lane was told to ask at {at:?}, too late");
                self.check_wait(due);
            }
        }
        false
    }

    fn check_batch(&mut self, batch: Batch<Job>) {
        let settings = self.settings_of(batch.queue).clone();
        assert!(!batch.tickets.is_empty());
        assert!(batch.rows <= settings.max_batch_rows, "{} rows", batch.rows);
        assert_eq!(batch.rows, batch.tickets.iter().map(|t| t.rows).sum::<u32>());
        assert_eq!(batch.units, batch.tickets.iter().map(|t| t.units).sum::<u32>());
        let shape = self.sent[batch.tickets[0].payload.id].shape;
        for ticket in batch.tickets {
            let id = ticket.payload.id;
            let sent = &mut self.sent[id];
            sent.answers += 1;
            assert!(!sent.dead(self.now), "a dead ticket ran");
            assert_eq!((sent.queue, sent.shape), (batch.queue, shape), "two buckets in one batch");
            let equals = (sent.queue, sent.shape, sent.class, sent.rows, sent.deadline);
            let last = self.last_run.insert(equals, id);
            assert!(last.is_none_or(|last| last < id), "{id} ran after {last:?}");
        }
        self.running.push((batch.id, batch.queue, self.now));
        assert!(self.running.len() <= self.lanes as usize, "more batches than lanes");
        let own = self.running.iter().filter(|(_, queue, _)| *queue == batch.queue).count();
        assert!(own <= settings.lanes as usize, "more batches of a queue than it has lanes");
    }

    fn check_wait(&self, due: Duration) {
        assert!(due > self.now, "waits for the past");
        let mut rows = BTreeMap::new();
        for sent in self.runnable() {
            let settings = self.settings_of(sent.queue);
            assert!(sent.due(settings.max_queue_delay) >= due, "would oversleep a ticket");
            *rows.entry((sent.queue, sent.shape)).or_insert(0) += sent.rows;
        }
        let full = rows.iter().any(|((queue, _), rows)| *rows >= self.settings_of(*queue).max_batch_rows);
        assert!(!full, "waits with a full batch at hand");
    }

    fn check_views(&self) {
        for queue in &self.queues {
            let view = self.device.view(*queue);
            let waits = self.sent.iter().filter(|sent| sent.queue == *queue && sent.answers == 0);
            let rows: u64 = waits.map(|sent| u64::from(sent.rows)).sum();
            // Swept out by an admission, to be handed out by the next turn: no longer in the queue.
            let swept = self.device.dropped.iter().map(|dropped| &self.sent[dropped.ticket.payload.id]);
            let swept: u64 = swept.filter(|sent| sent.queue == *queue).map(|sent| u64::from(sent.rows)).sum();
            assert_eq!(view.queued_rows, rows - swept);
            let running = self.running.iter().filter(|(_, of, _)| of == queue).count();
            assert_eq!(view.running as usize, running);
            let quote = self.device.quote(self.now, *queue).unwrap();
            assert!(quote.quote <= quote.quote_admission && quote.capacity.is_finite(), "{quote:?}");
        }
    }

    /// Tickets that a lane could run now.
    fn runnable(&self) -> impl Iterator<Item = &Sent> {
        let lane_free = self.running.len() < self.lanes as usize;
        self.sent.iter().filter(move |sent| {
            let own = self.running.iter().filter(|(_, queue, _)| *queue == sent.queue).count();
            let alive = sent.answers == 0 && !sent.dead(self.now);
            alive && lane_free && own < self.settings_of(sent.queue).lanes as usize
        })
    }

    /// Tickets that should have run by now had lanes been free.
    pub(super) fn overdue(&self) -> impl Iterator<Item = &Sent> {
        self.runnable().filter(|sent| sent.due(self.settings_of(sent.queue).max_queue_delay) <= self.now)
    }

    /// Settings of a queue that was not removed.
    fn settings_of(&self, queue: QueueId) -> &QueueSettings {
        let place = self.queues.iter().position(|id| *id == queue);
        &self.settings[place.expect("a queue that was removed still has tickets")]
    }

    /// Lets everything run and end.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            while self.turn() {}
            while !self.running.is_empty() {
                self.finish(0, 100);
            }
            if self.device.turns.len() == 0 {
                break;
            }
            self.now += ms(1);
        }
        while self.turn() {}
        self.check_views();
    }
}
