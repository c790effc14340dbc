//! The load report: what a worker says of itself to gateways on `GET /v2/load`.
//!
//! The gateway learns from it which model versions exist where and in which state. Counters are cumulative since
//! the worker started; nothing in it is a wall clock.

use serde::{Deserialize, Serialize};

use crate::{Bytes, ModelName, Version, WorkerId};

/// Format number of [`LoadReport`]; a gateway refuses any other.
pub const FORMAT: u32 = 1;

/// Life of one model version on one worker. Wire codes count from 0 in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// In the repository, not in memory.
    Absent,
    /// Being read and verified.
    Loading,
    /// Running its first forward passes.
    Warming,
    /// Answering requests.
    Serving,
    /// Finishing what it accepted; nothing new.
    Draining,
    /// Could not be loaded; the report says why.
    Failed,
}

impl Lifecycle {
    /// Lower-case name, as in the report and in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

/// `GET /v2/load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The worker's own name.
    pub worker: WorkerId,
    /// Boot id: another value means that the worker was restarted and `seq` and model ids began again.
    pub epoch: u64,
    /// Counts reports of this epoch, from 1.
    pub seq: u64,
    /// False once the worker is shutting down: nothing new is accepted.
    pub accepting: bool,
    /// Devices that models run on.
    pub devices: Vec<DeviceLoad>,
    /// Every model version in the repository, loaded or not.
    pub models: Vec<ReplicaLoad>,
}

/// One device of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLoad {
    /// Index that [`ReplicaLoad::device`] refers to.
    pub id: u32,
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Memory that models may use in all, in bytes.
    pub total: Bytes,
    /// Memory still free of it, in bytes.
    pub free: Bytes,
}

/// One model version on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLoad {
    /// Id of this (model, version), from 1, fixed for the epoch, never reused.
    pub id: u32,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// Whether the worker itself calls it by that number. False only of foreign workers, which may have no version
    /// numbers: the gateway then takes 1 for it and leaves the version out of what it sends. Absent on the wire = true.
    #[serde(default = "versioned", skip_serializing_if = "is_versioned")]
    pub versioned: bool,
    /// Where it is in its life.
    pub state: Lifecycle,
    /// Why it failed; absent in every other state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Device it runs on.
    pub device: u32,
    /// Size of the model's file, in bytes.
    pub size: Bytes,
    /// Largest batch, in rows; at least 1.
    pub max_batch_size: u32,
    /// Rows waiting in the queue.
    pub queued: u64,
    /// Requests accepted and not yet answered, queued ones included.
    pub in_flight: u64,
    /// Requests that came for it so far, those included that its queue did not let in.
    pub arrivals: u64,
    /// How fast it is and when it would answer one more request; absent while it is not
    /// loaded, and from foreign workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
}

/// What a worker expects of a model version that serves. Durations only; docs/BATCHING.md has the formulas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// What batches cost, by bucket: those that warm-up measured, then those learned since. Empty while nothing is known.
    pub latency: Vec<BatchLatency>,
    /// How much longer batches take of late than `latency` says, in thousandths: 1000 = just so; 250 to 20,000. 0 from a
    /// worker that does not say.
    pub scale_milli: u32,
    /// Until one more request of one row would be answered.
    pub quote_us: u64,
    /// The same, if the batches ahead of it and its own fill up; never less.
    pub quote_admission_us: u64,
    /// What `quote_us` is while the device is idle.
    pub floor_us: u64,
    /// Device time that one more row takes at full batches.
    pub marginal_ns: u64,
    /// Rows per thousand seconds at full batches, with the device to itself.
    pub capacity_mrps: u64,
}

/// Time of a batch of n rows of one bucket: base + n x per unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLatency {
    /// Sizes of the free dimensions, padded; empty for a model without any.
    pub shape: Vec<u64>,
    /// What every batch costs.
    pub base_us: u64,
    /// What each row adds.
    pub per_unit_ns: u64,
}

fn versioned() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_versioned(versioned: &bool) -> bool {
    *versioned
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STATES: [Lifecycle; 6] = [
        Lifecycle::Absent,
        Lifecycle::Loading,
        Lifecycle::Warming,
        Lifecycle::Serving,
        Lifecycle::Draining,
        Lifecycle::Failed,
    ];

    fn estimate() -> Estimate {
        Estimate {
            latency: vec![BatchLatency { shape: vec![128], base_us: 8_000, per_unit_ns: 1_000_000 }],
            scale_milli: 1_100,
            quote_us: 15_000,
            quote_admission_us: 31_000,
            floor_us: 9_900,
            marginal_ns: 1_375_000,
            capacity_mrps: 727_272,
        }
    }

    fn report() -> LoadReport {
        let failed = ReplicaLoad {
            id: 1,
            model: "digits".parse().unwrap(),
            version: Version::new(2).unwrap(),
            versioned: true,
            state: Lifecycle::Failed,
            reason: Some("model.pt is truncated".into()),
            device: 0,
            size: Bytes(1024),
            max_batch_size: 32,
            queued: 1,
            in_flight: 3,
            arrivals: u64::MAX,
            estimate: None,
        };
        LoadReport {
            format: FORMAT,
            worker: "w-1".parse().unwrap(),
            epoch: 77,
            seq: 5,
            accepting: true,
            devices: vec![DeviceLoad { id: 0, name: "cpu".into(), total: Bytes(4096), free: Bytes(512) }],
            models: vec![
                failed.clone(),
                ReplicaLoad {
                    id: 2,
                    state: Lifecycle::Serving,
                    reason: None,
                    estimate: Some(estimate()),
                    ..failed
                },
            ],
        }
    }

    #[test]
    fn the_report_reads_back_as_it_was_written() {
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<LoadReport>(&text).unwrap(), report());
    }

    #[test]
    fn the_wire_form_is_the_one_that_other_versions_speak() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["devices"], json!([{"id": 0, "name": "cpu", "total": 4096, "free": 512}]));
        assert_eq!(
            value["models"][0],
            json!({
                "id": 1, "model": "digits", "version": 2, "state": "failed", "reason": "model.pt is truncated",
                "device": 0, "size": 1024, "max_batch_size": 32, "queued": 1, "in_flight": 3, "arrivals": u64::MAX,
            })
        );
        assert_eq!(value["models"][1].get("reason"), None, "no reason without a failure");
        assert_eq!(
            value["models"][1]["estimate"],
            json!({
                "latency": [{"shape": [128], "base_us": 8_000, "per_unit_ns": 1_000_000}], "scale_milli": 1_100,
                "quote_us": 15_000, "quote_admission_us": 31_000, "floor_us": 9_900, "marginal_ns": 1_375_000,
                "capacity_mrps": 727_272,
            })
        );
        for (key, expected) in [
            ("format", json!(1)),
            ("worker", json!("w-1")),
            ("epoch", json!(77)),
            ("seq", json!(5)),
            ("accepting", json!(true)),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
    }

    #[test]
    fn an_estimate_of_which_a_worker_says_only_a_part_is_read() {
        let mut value = serde_json::to_value(report()).unwrap();
        value["models"][1]["estimate"] = json!({"floor_us": 7});
        let read = serde_json::from_value::<LoadReport>(value).unwrap();
        assert_eq!(read.models[1].estimate, Some(Estimate { floor_us: 7, ..Estimate::default() }));
    }

    #[test]
    fn a_newer_workers_extra_fields_are_ignored_and_bad_names_refused() {
        let mut value = serde_json::to_value(report()).unwrap();
        value["later"] = json!({"x": [1]});
        assert_eq!(serde_json::from_value::<LoadReport>(value.clone()).unwrap(), report());
        value["models"][0]["model"] = json!("../etc");
        assert!(serde_json::from_value::<LoadReport>(value.clone()).is_err());
        value["models"][0]["model"] = json!("digits");
        value["models"][0]["version"] = json!(0);
        assert!(serde_json::from_value::<LoadReport>(value).is_err());
    }

    #[test]
    fn states_are_named_alike_in_the_report_and_in_labels() {
        for (code, state) in STATES.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(state as usize, code, "wire codes follow the order of the enum");
        }
    }
}
