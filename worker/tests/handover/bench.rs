//! A device with its lanes and fronts as the scenarios see it: batches that run, requests that wait for their answer.
//!
//! Stands for `lanes` and `infer` around the hand-over, which is the worker's own. `main` says what happens.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
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

use crate::{
    handover::{Bed, Handover, Work},
    sync::now,
};

/// How a ticket left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Ran,
    Dropped(Cause),
}

pub(crate) struct Request {
    gone: Arc<AtomicBool>,
    pub(crate) reply: Sender<Answer>,
    /// To be waited for by the forward pass.
    pub(crate) until: Option<Receiver<()>>,
}

impl Cancel for Request {
    fn cancelled(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// The requester's end of a ticket.
pub(crate) struct Asked {
    pub(crate) answer: Receiver<Answer>,
    pub(crate) gone: Arc<AtomicBool>,
}

impl Asked {
    /// Waits for the answer, and sees that no second one comes.
    pub(crate) fn answer(&self) -> Answer {
        let answer = self.answer.recv().expect("the ticket was lost");
        assert!(self.answer.recv().is_err(), "answered twice");
        answer
    }
}

pub(crate) fn ticket(rows: u32) -> (Ticket<Request>, Asked) {
    let (reply, answer) = channel();
    let gone = Arc::new(AtomicBool::new(false));
    let payload = Request { gone: Arc::clone(&gone), reply, until: None };
    let ticket = Ticket { rows, units: rows, shape: ShapeKey::default(), class: 0, deadline: None, payload };
    (ticket, Asked { answer, gone })
}

/// A device with its lanes.
pub(crate) struct Bench {
    pub(crate) handover: Arc<Handover<Request>>,
    lanes: Vec<thread::JoinHandle<()>>,
    running: Arc<BTreeMap<QueueId, AtomicU32>>,
    pub(crate) queues: Vec<QueueId>,
}

/// A queue that takes `max_queue_delay` for company, of a model that may run so many batches at once.
pub(crate) fn queue(lanes: u32, max_queue_delay: Duration) -> QueueSettings {
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
    pub(crate) fn new(lanes: u32, queues: &[QueueSettings]) -> Self {
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

    pub(crate) fn running(&self, queue: usize) -> u32 {
        self.running[&self.queues[queue]].load(Ordering::SeqCst)
    }

    pub(crate) fn front(&self, queue: usize) -> Front {
        Front { handover: Arc::clone(&self.handover), queue: self.queues[queue] }
    }

    /// Ends the lanes and waits for them: one that nobody wakes is a deadlock.
    pub(crate) fn end(self) {
        self.handover.end();
        self.ended();
    }

    /// Waits for lanes that were told to end.
    pub(crate) fn ended(self) {
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
            tell(dropped);
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

fn tell(dropped: Vec<Dropped<Request>>) {
    for Dropped { cause, ticket } in dropped {
        _ = ticket.payload.reply.send(Answer::Dropped(cause));
    }
}

/// Who sends requests to one queue.
pub(crate) struct Front {
    pub(crate) handover: Arc<Handover<Request>>,
    pub(crate) queue: QueueId,
}

impl Front {
    pub(crate) fn admit(&self, ticket: Ticket<Request>) -> Result<(), Refusal> {
        let (admitted, dropped) = self.handover.admit(now, self.queue, vec![ticket]);
        tell(dropped);
        admitted.map(drop).map_err(|refused| refused.refusal)
    }

    pub(crate) fn refuses(&self) -> Option<Refusal> {
        let (refusal, dropped) = self.handover.refuses(now, self.queue, None);
        tell(dropped);
        refusal
    }

    /// Sends one request after another and waits for each answer.
    pub(crate) fn ask(&self, times: usize) {
        for _ in 0..times {
            let (ticket, asked) = ticket(1);
            self.admit(ticket).unwrap();
            assert_eq!(asked.answer(), Answer::Ran);
        }
    }
}
