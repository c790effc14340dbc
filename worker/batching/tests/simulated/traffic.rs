//! Requests at random times, from a seed: what comes, when, and how long its client waits.

use std::time::Duration;

use weir_batching::BatchCost;

/// Most rows of a batch.
pub(crate) const MAX_ROWS: u32 = 32;
/// 8 ms + 1 ms a row.
pub(crate) const COST: BatchCost =
    BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };

/// A stream of requests of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// Which model they are for.
    pub(crate) model: usize,
    /// Rows per second, as a share of what full batches of that model can do on one lane.
    pub(crate) load: f64,
    /// Rows of a request.
    pub(crate) rows: u32,
    /// Its class.
    pub(crate) class: u8,
    /// How long its client waits, in ms; `None` = for ever.
    pub(crate) patience_ms: Option<u64>,
}

impl Stream {
    /// Requests of one row for the first model, whose clients wait for 50 ms.
    pub(crate) fn of(load: f64) -> Self {
        Self { model: 0, load, rows: 1, class: 0, patience_ms: Some(50) }
    }

    /// Mean time between two requests, in ms.
    fn interval_ms(&self) -> f64 {
        let full = COST.of(MAX_ROWS).as_secs_f64() * 1_000.0;
        full / f64::from(MAX_ROWS) * f64::from(self.rows) / self.load
    }
}

/// Random numbers that are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..8 {
            random.unit();
        }
        random
    }

    /// Between 0 and 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with mean 0 and deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A request of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) stream: usize,
}

/// Everything that comes until `until_ms`, in order: each stream with exponential times between its requests.
pub(crate) fn arrivals(streams: &[Stream], until_ms: u64, seed: u64) -> Vec<Arrival> {
    let mut all = Vec::new();
    for (stream, kind) in streams.iter().enumerate() {
        let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(stream as u64));
        let mut at = 0.0;
        loop {
            at += -kind.interval_ms() * (1.0 - random.unit()).ln();
            if at > until_ms as f64 {
                break;
            }
            all.push(Arrival { at: Duration::from_secs_f64(at / 1_000.0), stream });
        }
    }
    all.sort_by_key(|arrival| arrival.at);
    all
}
