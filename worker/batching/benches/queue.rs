//! What a request costs in the queues of a device: let in, and taken out again in a batch of 32 rows.
//!
//! `cargo bench -p weir-batching`: requests per second at 32, 1,000 and 10,000 requests queued, in one queue and over 1,000.

use std::{collections::VecDeque, hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_batching::{
    BatchCost, Cancel, Device, DeviceSettings, Ended, Next, QueueId, QueueSettings, ShapeKey, Ticket,
    TurnOrder,
};

/// Rows of a batch.
const BATCH: u32 = 32;
/// Far enough off that nothing is refused however many are queued.
const DEADLINE: Duration = Duration::from_secs(3_600);

struct Job;

impl Cancel for Job {
    fn cancelled(&self) -> bool {
        false
    }
}

/// A device in a steady state: as many tickets come as go.
struct Bench {
    device: Device<Job>,
    /// The next one gets the next request.
    queues: VecDeque<QueueId>,
    now: Duration,
}

impl Bench {
    fn new(queues: usize, queued: usize) -> Self {
        let mut device = Device::new(DeviceSettings { lanes: 1, turn_order: TurnOrder::Arrival });
        let queues = (0..queues).map(|_| device.add(settings())).collect();
        let mut bench = Self { device, queues, now: Duration::from_secs(1) };
        for _ in 0..queued {
            bench.admit();
        }
        bench
    }

    /// Lets one request in, to the queue whose turn it is to get one.
    fn admit(&mut self) {
        self.now += Duration::from_micros(1);
        self.queues.rotate_left(1);
        let Some(&queue) = self.queues.front() else { return };
        let deadline = Some(self.now + DEADLINE);
        let ticket =
            Ticket { rows: 1, units: 1, shape: ShapeKey::default(), class: 0, deadline, payload: Job };
        let admitted = self.device.admit(self.now, queue, vec![ticket]);
        assert!(black_box(admitted).is_ok(), "a request was refused");
    }

    /// Runs one batch and lets in as many requests as it took.
    fn step(&mut self) -> u64 {
        let Next::Run(batch) = self.device.next(self.now).next else { return 0 };
        let rows = batch.rows;
        self.now += Duration::from_micros(1);
        self.device.finish(self.now, batch.id, Ended::Ran(cost().of(rows)));
        drop(black_box(batch));
        for _ in 0..rows {
            self.admit();
        }
        u64::from(rows)
    }
}

fn cost() -> BatchCost {
    BatchCost { base: Duration::from_micros(100), per_unit: Duration::from_micros(10) }
}

fn settings() -> QueueSettings {
    QueueSettings {
        max_batch_rows: BATCH,
        max_queue_delay: Duration::ZERO,
        preferred_batch_rows: Vec::new(),
        max_queued_rows: u32::MAX,
        default_timeout: None,
        ageing: Duration::from_secs(1),
        lanes: 1,
        costs: vec![(ShapeKey::default(), cost())],
        useful_rows: Vec::new(),
    }
}

fn admit_and_run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for queues in [1, 1_000] {
        for queued in [32, 1_000, 10_000] {
            let mut bench = Bench::new(queues, queued);
            // As many requests each time: as many come as go, and queues take turns.
            group.throughput(Throughput::Elements(bench.step()));
            let id = BenchmarkId::new(format!("{queues} queues"), format!("{queued} queued"));
            group.bench_function(id, |bencher| bencher.iter(|| bench.step()));
        }
    }
    group.finish();
}

criterion_group!(benches, admit_and_run);
criterion_main!(benches);
