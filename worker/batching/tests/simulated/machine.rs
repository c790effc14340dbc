//! A machine in virtual time: it lets requests in, runs batches on its lanes and keeps what became of every request.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use weir_batching::{
    Batch, Cancel, Cause, Device, DeviceSettings, Ended, Next, QueueId, QueueSettings, ShapeKey, Ticket,
    TurnOrder,
};

use crate::traffic::{Arrival, COST, MAX_ROWS, Random, Stream, arrivals};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered at this time.
    Answered(Duration),
    /// It was refused at once.
    Refused,
    /// It left the queue at this time, for this cause.
    Dropped(Duration, Cause),
}

/// A request and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stream: usize,
    pub(crate) arrived: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) outcome: Option<Outcome>,
}

impl Record {
    pub(crate) fn in_time(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Answered(at)) if self.deadline.is_none_or(|end| at <= end))
    }

    /// Until its client was told that there will be no answer.
    fn refusal(&self) -> Option<Duration> {
        match self.outcome? {
            Outcome::Answered(_) => None,
            Outcome::Refused => Some(Duration::ZERO),
            Outcome::Dropped(at, _) => Some(at - self.arrived),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Job {
    id: usize,
    gone: Rc<Cell<bool>>,
}

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        self.gone.get()
    }
}

/// What a run is about.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) lanes: u32,
    pub(crate) models: Vec<QueueSettings>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) until_ms: u64,
    pub(crate) seed: u64,
    /// Relative spread of batch times.
    pub(crate) noise: f64,
    /// How much longer batches take than costs say, by when they start.
    pub(crate) slower: fn(Duration) -> f64,
}

impl Setup {
    /// One model on one lane, for six seconds.
    pub(crate) fn of(streams: &[Stream]) -> Self {
        Self {
            lanes: 1,
            models: vec![model()],
            streams: streams.to_vec(),
            until_ms: 6_000,
            seed: 1,
            noise: 0.0,
            slower: |_| 1.0,
        }
    }

    pub(crate) fn run(&self) -> Machine {
        let mut machine = Machine::new(self);
        for arrival in arrivals(&self.streams, self.until_ms, self.seed) {
            machine.pass(arrival.at);
            machine.admit(arrival);
            machine.fill_lanes();
        }
        machine.pass(Duration::MAX);
        machine
    }
}

/// A model whose costs are known.
pub(crate) fn model() -> QueueSettings {
    QueueSettings {
        max_batch_rows: MAX_ROWS,
        max_queue_delay: Duration::ZERO,
        preferred_batch_rows: Vec::new(),
        max_queued_rows: 1_024,
        default_timeout: None,
        ageing: Duration::from_secs(1),
        lanes: 64,
        costs: vec![(ShapeKey::default(), COST)],
        useful_rows: Vec::new(),
    }
}

/// What runs now: when it ends and how long it takes, by the order of ends.
type Running = BTreeMap<(Duration, u64), (Batch<Job>, Duration)>;

/// A machine and its books.
pub(crate) struct Machine {
    setup: Setup,
    pub(crate) device: Device<Job>,
    pub(crate) queues: Vec<QueueId>,
    pub(crate) records: Vec<Record>,
    pub(crate) most_queued: u64,
    /// Rows of each batch, in order.
    pub(crate) batches: Vec<u32>,
    running: Running,
    random: Random,
    now: Duration,
}

impl Machine {
    fn new(setup: &Setup) -> Self {
        let mut device = Device::new(DeviceSettings { lanes: setup.lanes, turn_order: TurnOrder::Arrival });
        let queues = setup.models.iter().map(|model| device.add(model.clone())).collect();
        Self {
            setup: setup.clone(),
            device,
            queues,
            records: Vec::new(),
            most_queued: 0,
            batches: Vec::new(),
            running: BTreeMap::new(),
            random: Random::new(setup.seed),
            now: Duration::ZERO,
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        let Stream { model, rows, class, patience_ms, .. } = self.setup.streams[arrival.stream];
        let deadline = patience_ms.map(|patience| self.now + Duration::from_millis(patience));
        let payload = Job { id: self.records.len(), gone: Rc::default() };
        let ticket = Ticket { rows, units: rows, shape: ShapeKey::default(), class, deadline, payload };
        let (stream, arrived) = (arrival.stream, self.now);
        let refused = self.device.admit(self.now, self.queues[model], vec![ticket]).is_err();
        let outcome = refused.then_some(Outcome::Refused);
        self.records.push(Record { stream, arrived, deadline, outcome });
        self.most_queued = self.most_queued.max(self.device.view(self.queues[model]).queued_rows);
    }

    /// Lets batches end until `until`.
    fn pass(&mut self, until: Duration) {
        while let Some(((end, number), (batch, took))) = self.running.pop_first() {
            if end > until {
                self.running.insert((end, number), (batch, took));
                break;
            }
            self.now = end;
            self.device.finish(end, batch.id, Ended::Ran(took));
            for ticket in batch.tickets {
                self.tell(ticket.payload.id, Outcome::Answered(end));
            }
            self.fill_lanes();
        }
        if until < Duration::MAX {
            self.now = until;
        }
    }

    fn fill_lanes(&mut self) {
        loop {
            let turn = self.device.next(self.now);
            for dropped in turn.dropped {
                self.tell(dropped.ticket.payload.id, Outcome::Dropped(self.now, dropped.cause));
            }
            let Next::Run(batch) = turn.next else { return };
            let noise = (self.setup.noise * self.random.normal()).exp();
            let took = COST.of(batch.units).mul_f64(noise * (self.setup.slower)(self.now));
            self.batches.push(batch.rows);
            self.running.insert((self.now + took, self.batches.len() as u64), (batch, took));
        }
    }

    fn tell(&mut self, id: usize, outcome: Outcome) {
        let earlier = self.records[id].outcome.replace(outcome);
        assert_eq!(earlier, None, "request {id} was told twice");
    }

    /// Requests of these streams that came in this time, in ms.
    fn of(&self, streams: &[usize], from_ms: u64, to_ms: u64) -> impl Iterator<Item = &Record> {
        let (from, to) = (Duration::from_millis(from_ms), Duration::from_millis(to_ms));
        let came = self.records.iter().filter(move |record| from <= record.arrived && record.arrived < to);
        came.filter(|record| streams.is_empty() || streams.contains(&record.stream))
    }

    /// Share of all requests that were answered in time, in percent, after the first second.
    pub(crate) fn good(&self) -> f64 {
        self.good_of(&[], 1_000, self.setup.until_ms)
    }

    /// The same for some streams and another time; no stream = all.
    pub(crate) fn good_of(&self, streams: &[usize], from_ms: u64, to_ms: u64) -> f64 {
        let (mut good, mut all) = (0_u32, 0_u32);
        for record in self.of(streams, from_ms, to_ms) {
            all += 1;
            good += u32::from(record.in_time());
        }
        100.0 * f64::from(good) / f64::from(all.max(1))
    }

    /// Answers that came too late.
    pub(crate) fn late(&self) -> usize {
        let answered = |record: &&Record| matches!(record.outcome, Some(Outcome::Answered(_)));
        self.records.iter().filter(answered).filter(|record| !record.in_time()).count()
    }

    /// Time within which 99 % of refusals came, after the first second.
    pub(crate) fn refusals_p99(&self) -> Duration {
        let mut times: Vec<_> =
            self.of(&[], 1_000, self.setup.until_ms).filter_map(Record::refusal).collect();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::ZERO)
    }
}
