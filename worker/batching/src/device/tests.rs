//! Examples of what a device does, one rule each, by subject; and properties of every history.

use std::{cell::Cell, rc::Rc};

use super::*;
use crate::{BatchCost, Cause};

mod admission;
mod batches;
mod drops;
mod properties;
mod starvation;
mod turns;
mod world;

/// 8 ms + 1 ms a row.
const COST: BatchCost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
const ONE_LANE: DeviceSettings = DeviceSettings { lanes: 1, turn_order: TurnOrder::Arrival };

#[derive(Debug, Clone, PartialEq, Default)]
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

/// Batches of four, no waiting, costs known.
fn settings() -> QueueSettings {
    QueueSettings {
        max_batch_rows: 4,
        max_queue_delay: Duration::ZERO,
        preferred_batch_rows: Vec::new(),
        max_queued_rows: 100,
        default_timeout: None,
        ageing: ms(1_000),
        lanes: 64,
        costs: vec![(ShapeKey::default(), COST)],
        useful_rows: Vec::new(),
    }
}

fn ticket(name: &'static str) -> Ticket<Job> {
    let payload = Job { name, gone: Rc::default() };
    Ticket { rows: 1, units: 1, shape: ShapeKey::default(), class: 0, deadline: None, payload }
}

fn due(name: &'static str, deadline: u64) -> Ticket<Job> {
    Ticket { deadline: Some(ms(deadline)), ..ticket(name) }
}

fn rows(rows: u32, ticket: Ticket<Job>) -> Ticket<Job> {
    Ticket { rows, units: rows, ..ticket }
}

fn shaped(shape: u64, ticket: Ticket<Job>) -> Ticket<Job> {
    Ticket { shape: ShapeKey(Box::new([shape])), ..ticket }
}

/// A ticket that its requester has given up.
fn gone(ticket: Ticket<Job>) -> Ticket<Job> {
    ticket.payload.gone.set(true);
    ticket
}

/// One queue on one lane.
fn one(settings: QueueSettings) -> (Device<Job>, QueueId) {
    let mut device = Device::new(ONE_LANE);
    let queue = device.add(settings);
    (device, queue)
}

fn admit(device: &mut Device<Job>, queue: QueueId, now: u64, tickets: impl IntoIterator<Item = Ticket<Job>>) {
    for ticket in tickets {
        device.admit(ms(now), queue, vec![ticket]).unwrap();
    }
}

fn names(tickets: &[Ticket<Job>]) -> Vec<&'static str> {
    tickets.iter().map(|ticket| ticket.payload.name).collect()
}

fn dropped(turn: &Turn<Job>) -> Vec<(&'static str, Cause)> {
    turn.dropped.iter().map(|dropped| (dropped.ticket.payload.name, dropped.cause)).collect()
}

/// The batch that starts now; panics when none does.
fn start(device: &mut Device<Job>, now: u64) -> Batch<Job> {
    match device.next(ms(now)).next {
        Next::Run(batch) => {
            assert_eq!(batch.rows, batch.tickets.iter().map(|ticket| ticket.rows).sum::<u32>());
            assert_eq!(batch.units, batch.tickets.iter().map(|ticket| ticket.units).sum::<u32>());
            batch
        }
        other => panic!("expected a batch, got {other:?}"),
    }
}

/// Names of the batch that runs now, which then ends at once.
fn run(device: &mut Device<Job>, now: u64) -> Vec<&'static str> {
    let batch = start(device, now);
    device.finish(ms(now), batch.id, Ended::Failed);
    names(&batch.tickets)
}

/// Lets the queue measure a batch, so that its costs count, which ends at this time.
fn measure(device: &mut Device<Job>, queue: QueueId, ends: u64) {
    admit(device, queue, ends - 9, [ticket("measured")]);
    let batch = start(device, ends - 9);
    device.finish(ms(ends), batch.id, Ended::Ran(ms(9)));
}

/// Keeps the lane of a queue busy from `now` on with a batch of `rows`, of which it gives the id.
fn occupy(device: &mut Device<Job>, queue: QueueId, now: u64, rows_: u32) -> BatchId {
    admit(device, queue, now, [rows(rows_, ticket("running"))]);
    start(device, now).id
}
