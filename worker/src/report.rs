//! What the worker says of itself to gateways: the load report.
//!
//! Owns the boot id and the sequence number; everything else is read from the store and the device at the moment
//! of asking.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use weir_protocol::{
    LoadReport, WorkerId,
    load::{DeviceLoad, FORMAT},
};

pub(crate) use self::estimate::estimate;
use crate::{device::Cpu, model::store::Store};

mod estimate;

/// Makes load reports.
#[derive(Debug)]
pub struct Reporter {
    worker: WorkerId,
    epoch: u64,
    seq: AtomicU64,
    cpu: Arc<Cpu>,
}

impl Reporter {
    /// A reporter for one boot of the worker; `epoch` must differ from boot to boot.
    #[must_use]
    pub fn new(worker: WorkerId, epoch: u64, cpu: Arc<Cpu>) -> Self {
        Self { worker, epoch, seq: AtomicU64::new(0), cpu }
    }

    /// The present report. `accepting` is false once the worker is shutting down.
    #[must_use]
    pub fn report(&self, store: &Store, accepting: bool) -> LoadReport {
        let cpu =
            DeviceLoad { id: 0, name: "cpu".to_owned(), total: self.cpu.total(), free: self.cpu.free() };
        LoadReport {
            format: FORMAT,
            worker: self.worker.clone(),
            epoch: self.epoch,
            // Only uniqueness and growth matter.
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            accepting,
            devices: vec![cpu],
            models: store.replicas().map(|replica| replica.load()).collect(),
        }
    }
}
