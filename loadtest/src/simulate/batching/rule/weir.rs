//! Weir's own batching: the crate that the worker runs, unchanged.

use std::{collections::BTreeMap, time::Duration};

use weir_batching::{BatchId, Device, DeviceSettings, Ended, Next, QueueId, Ticket};

use crate::simulate::batching::{
    request::Request,
    rule::{Batcher, Offer, Turn},
    scenario::{Scenario, shape},
};

/// A device with one queue per model of the scenario.
#[derive(Debug)]
pub(super) struct Weir {
    device: Device<Request>,
    queues: Vec<QueueId>,
    /// Batches that run, by the id of their first request.
    running: BTreeMap<u64, BatchId>,
}

impl Weir {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let settings = DeviceSettings { lanes: scenario.lanes, turn_order: scenario.turn_order.into() };
        let mut device = Device::new(settings);
        let queues =
            scenario.model.iter().map(|model| device.add(model.queue_settings(scenario.lanes))).collect();
        Self { device, queues, running: BTreeMap::new() }
    }
}

impl Batcher for Weir {
    fn offer(&mut self, now: Duration, request: Request) -> Offer {
        let Some(queue) = self.queues.get(request.model) else { return Offer::Refused };
        let ticket = Ticket {
            rows: request.rows,
            units: request.units,
            shape: shape(request.bucket),
            class: request.class,
            deadline: request.deadline,
            payload: request,
        };
        match self.device.admit(now, *queue, vec![ticket]) {
            Ok(quote) => Offer::Queued(Some(quote)),
            Err(_) => Offer::Refused,
        }
    }

    fn next(&mut self, now: Duration, dropped: &mut Vec<Request>) -> Turn {
        let turn = self.device.next(now);
        dropped.extend(turn.dropped.into_iter().map(|dropped| dropped.ticket.payload));
        match turn.next {
            Next::Run(batch) => {
                let requests: Vec<Request> = batch.tickets.into_iter().map(|t| t.payload).collect();
                self.running.extend(requests.first().map(|first| (first.id, batch.id)));
                Turn::Run(requests)
            }
            Next::WaitUntil(at) => Turn::WaitUntil(at),
            Next::Idle => Turn::Idle,
        }
    }

    fn finish(&mut self, now: Duration, batch: &[Request], took: Duration) {
        let id = batch.first().and_then(|first| self.running.remove(&first.id));
        if let Some(id) = id {
            self.device.finish(now, id, Ended::Ran(took));
        }
    }
}
