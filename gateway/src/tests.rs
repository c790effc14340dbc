//! What several tests of the gateway need: configurations, load reports and a running registry.

pub(crate) mod script;

use std::{path::Path, sync::Arc, time::Duration};

use weir_config::GatewayConfig;
use weir_protocol::{Bytes, Lifecycle, LoadReport, WorkerId, load::ReplicaLoad};

use crate::{registry::Registry, task::Tasks, telemetry::Telemetry};

/// Two workers, `a` and `b`, at addresses where nobody listens.
pub(crate) const TWO_WORKERS: &str = r#"
version = 1
[[worker]]
name = "a"
url = "http://127.0.0.1:1001"
[[worker]]
name = "b"
url = "http://127.0.0.1:1002"
"#;

/// The checked configuration of a text.
pub(crate) fn config(text: &str) -> Arc<GatewayConfig> {
    let parsed = GatewayConfig::parse(text, Path::new("gateway.toml"));
    Arc::new(parsed.unwrap_or_else(|problems| panic!("{problems}")))
}

/// The worker of that name.
pub(crate) fn name(text: &str) -> WorkerId {
    text.parse().unwrap()
}

/// A report of epoch 1 that lists these model versions.
pub(crate) fn report(seq: u64, models: &[(&str, u64, Lifecycle)]) -> LoadReport {
    let replica = |(id, (model, version, state)): (u32, &(&str, u64, Lifecycle))| ReplicaLoad {
        id,
        model: model.parse().unwrap(),
        version: weir_protocol::Version::new(*version).unwrap(),
        versioned: true,
        state: *state,
        reason: None,
        device: 0,
        size: Bytes(1),
        max_batch_size: 1,
        queued: 0,
        in_flight: 0,
        arrivals: 0,
        estimate: None,
    };
    LoadReport {
        format: weir_protocol::load::FORMAT,
        worker: name("its-own-name"),
        epoch: 1,
        seq,
        accepting: true,
        devices: Vec::new(),
        models: (1..).zip(models).map(replica).collect(),
    }
}

/// A registry of that configuration whose writer runs until the test ends.
pub(crate) fn running(config: Arc<GatewayConfig>) -> (Arc<Registry>, Tasks) {
    let (registry, writer) = Registry::new(config, Arc::new(Telemetry::new().unwrap()));
    let tasks = Tasks::new();
    tasks.spawn("registry", writer.run(tasks.stop_signal()));
    (registry, tasks)
}

/// Waits until `reached` holds, looking every millisecond for half a minute.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came true: {what}");
}
