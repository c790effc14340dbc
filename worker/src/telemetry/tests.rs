//! What is recorded, what is rendered of it, and what docs/METRICS.md says about it.

use std::collections::BTreeSet;

use super::*;

#[test]
fn what_was_recorded_is_rendered_with_its_labels() {
    let telemetry = Telemetry::new();
    let (model, version) = ("digits".parse().unwrap(), Version::new(3).unwrap());
    let replica = telemetry.replica(&model, version);
    replica.record_ok(Duration::from_micros(30));
    replica.record_forward(8, 32, Duration::from_millis(2));
    replica.record_quote(Duration::from_millis(3), Duration::from_millis(2));
    replica.record_dropped(Cause::Hopeless);
    replica.record_padding(24, 8);
    replica.record_split(3);
    replica.record_left();
    telemetry.record_error(Some((&model, version)), Reason::ModelFailed);
    telemetry.record_refusal(Refusal::QueueFull);
    let text = telemetry.render();
    for line in [
        r#"weir_worker_requests_total{model="digits",version="3",outcome="ok"} 1"#,
        r#"weir_worker_requests_total{model="digits",version="3",outcome="model-failed"} 1"#,
        r#"weir_worker_requests_total{model="digits",version="3",outcome="left"} 1"#,
        r#"weir_worker_dropped_total{model="digits",version="3",cause="hopeless"} 1"#,
        r#"weir_worker_dropped_total{model="digits",version="3",cause="expired"} 0"#,
        r#"weir_worker_batch_fill_ratio_bucket{model="digits",version="3",le="0.3"} 1"#,
        r#"weir_worker_batch_fill_ratio_bucket{model="digits",version="3",le="0.2"} 0"#,
        r#"weir_worker_padded_elements_total{model="digits",version="3",kind="real"} 24"#,
        r#"weir_worker_padded_elements_total{model="digits",version="3",kind="padding"} 8"#,
        r#"weir_worker_request_parts_sum{model="digits",version="3"} 3"#,
        r#"weir_worker_quote_error_ratio_sum{model="digits",version="3"} 0.5"#,
        r#"weir_worker_batch_rows_bucket{model="digits",version="3",le="8"} 1"#,
        r#"weir_worker_forward_seconds_sum{model="digits",version="3"} 0.002"#,
        r#"weir_worker_overhead_seconds_bucket{model="digits",version="3",le="0.00003"} 1"#,
        r#"weir_worker_refused_total{reason="queue-full"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn two_workers_in_one_process_do_not_share_metrics() {
    let (one, other) = (Telemetry::new(), Telemetry::new());
    one.record_refusal(Refusal::Draining);
    assert!(!other.render().contains("draining"));
}

/// A page on which every metric stands.
fn whole_page() -> String {
    let telemetry = Telemetry::new();
    let (model, version) = ("digits".parse().unwrap(), Version::new(3).unwrap());
    let replica = telemetry.replica(&model, version);
    replica.record_ok(Duration::ZERO);
    replica.record_wait(Duration::ZERO);
    replica.record_forward(1, 1, Duration::ZERO);
    replica.record_quote(Duration::ZERO, Duration::ZERO);
    replica.record_split(2);
    replica.record_batch(Duration::ZERO);
    replica.record_load(0, 0);
    telemetry.record_error(None, Reason::Internal);
    telemetry.record_refusal(Refusal::Memory);
    telemetry.record_state(&model, version, Lifecycle::Serving);
    telemetry.record_memory(Bytes(2), Bytes(1));
    telemetry.record_bodies(Bytes(1));
    telemetry.render()
}

#[test]
fn the_documentation_has_every_metric_with_its_kind_and_labels_and_no_other() {
    let page = whole_page();
    let document = include_str!("../../../docs/METRICS.md");
    let rendered: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let names: BTreeSet<_> = rendered.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, Metric::ALL.iter().map(|metric| metric.name()).collect());
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `weir_worker_"));
    assert_eq!(rows.count(), names.len());
    for (name, kind) in rendered {
        let sample = page.lines().find(|line| line.starts_with(name)).unwrap();
        let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let labels: Vec<_> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
        let labels = labels.iter().map(|(label, _)| *label).filter(|label| *label != "le");
        let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let row = format!("| `{name}` | {kind} | {labels} | ");
        assert!(document.contains(&row), "docs/METRICS.md has no row that begins {row}");
    }
}
