//! What an event adds to the `/metrics` page, and that the page matches its documentation.

use std::{fs, path::Path};

use super::*;

fn record<'a>(model: Option<&'a ModelName>, status: u16) -> RequestRecord<'a> {
    RequestRecord {
        model,
        status,
        reason: None,
        attempts: 1,
        worker: None,
        duration: Duration::from_millis(3),
        upstream_duration: None,
    }
}

fn line(page: &str, series: &str) -> Option<f64> {
    let found = page.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn a_request_is_counted_under_its_model_code_worker_and_reason() {
    let telemetry = Telemetry::new().unwrap();
    let (model, worker) = ("digits".parse().unwrap(), "w1".parse().unwrap());
    let upstream = Some(Duration::from_millis(2));
    telemetry.record_request(&RequestRecord {
        worker: Some(&worker),
        attempts: 2,
        upstream_duration: upstream,
        ..record(Some(&model), 200)
    });
    telemetry.record_request(&RequestRecord { reason: Some(Reason::NotReady), ..record(Some(&model), 503) });
    telemetry.record_request(&RequestRecord { reason: Some(Reason::ModelNotFound), ..record(None, 404) });

    let page = telemetry.render(&FleetGauges::default());
    let counts = [
        (r#"weir_gateway_requests_total{model="digits",code="200"}"#, 1.0),
        (r#"weir_gateway_requests_total{model="digits",code="503"}"#, 1.0),
        (r#"weir_gateway_requests_total{model="-",code="404"}"#, 1.0),
        (r#"weir_gateway_worker_requests_total{worker="w1"}"#, 1.0),
        (r#"weir_gateway_errors_total{reason="not-ready"}"#, 1.0),
        (r#"weir_gateway_errors_total{reason="model-not-found"}"#, 1.0),
        (r#"weir_gateway_errors_total{reason="internal"}"#, 0.0),
        ("weir_gateway_repeated_requests_total", 1.0),
        (r#"weir_gateway_request_duration_seconds_count{model="digits"}"#, 2.0),
        (r#"weir_gateway_request_duration_seconds_bucket{model="digits",le="0.0025"}"#, 0.0),
        (r#"weir_gateway_request_duration_seconds_bucket{model="digits",le="0.005"}"#, 2.0),
        (r#"weir_gateway_upstream_duration_seconds_count{model="digits"}"#, 1.0),
    ];
    for (series, count) in counts {
        assert_eq!(line(&page, series), Some(count), "{series}\n{page}");
    }
}

#[test]
fn a_status_outside_the_list_shares_one_series() {
    let telemetry = Telemetry::new().unwrap();
    let model = "m".parse().unwrap();
    for status in [299, 418, 599] {
        telemetry.record_request(&record(Some(&model), status));
    }
    let page = telemetry.render(&FleetGauges::default());
    assert_eq!(line(&page, r#"weir_gateway_requests_total{model="m",code="other"}"#), Some(3.0), "{page}");
}

#[test]
fn names_beyond_the_bound_share_the_overflow_series() {
    let recorder = Recorder::new().unwrap();
    let series = |name: &str| recorder.counter(Metric::WorkerRequests, &[name]);
    let workers: ByName<WorkerId, Counter> = ByName::new(2, series(OVERFLOW));
    for name in ["a", "b", "c", "d", "a"] {
        workers.with(&name.parse().unwrap(), series, |answers| answers.increment(1));
    }
    let page = recorder.handle().render();
    for (name, count) in [("a", 2.0), ("b", 1.0), ("..", 2.0)] {
        let series = format!("weir_gateway_worker_requests_total{{worker=\"{name}\"}}");
        assert_eq!(line(&page, &series), Some(count), "{page}");
    }
    assert!(!page.contains("worker=\"c\""), "{page}");
}

#[test]
fn attempts_are_counted_by_outcome_and_refusals_by_kind() {
    let telemetry = Telemetry::new().unwrap();
    telemetry.record_attempt(AttemptOutcome::Answered);
    telemetry.record_attempt(AttemptOutcome::Refused(Refusal::QueueFull));
    telemetry.record_attempt(AttemptOutcome::Refused(Refusal::NotReady));
    let page = telemetry.render(&FleetGauges::default());
    assert_eq!(line(&page, r#"weir_gateway_attempts_total{outcome="answered"}"#), Some(1.0));
    assert_eq!(line(&page, r#"weir_gateway_attempts_total{outcome="refused"}"#), Some(2.0));
    assert_eq!(line(&page, r#"weir_gateway_attempts_total{outcome="broke"}"#), Some(0.0));
    assert_eq!(line(&page, r#"weir_gateway_refusals_total{refusal="queue-full"}"#), Some(1.0));
}

#[test]
fn a_rejected_configuration_raises_its_gauge_until_a_good_one_comes() {
    let telemetry = Telemetry::new().unwrap();
    telemetry.record_reload(ReloadKind::Rejected);
    let fleet = FleetGauges { healthy: 2, draining: 1, generation: 7, ..FleetGauges::default() };
    let page = telemetry.render(&fleet);
    assert_eq!(line(&page, "weir_gateway_config_rejected"), Some(1.0));
    assert_eq!(line(&page, r#"weir_gateway_workers{health="healthy"}"#), Some(2.0));
    assert_eq!(line(&page, "weir_gateway_workers_draining"), Some(1.0));
    assert_eq!(line(&page, "weir_gateway_config_generation"), Some(7.0));
    telemetry.record_reload(ReloadKind::Applied);
    assert_eq!(line(&telemetry.render(&fleet), "weir_gateway_config_rejected"), Some(0.0));
}

#[test]
fn every_metric_has_a_lawful_name_and_a_line_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let documentation = fs::read_to_string(path).unwrap();
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(name.starts_with("weir_gateway_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind() == metric::Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), metric.kind() == metric::Kind::Histogram, "{name}");
        assert!(documentation.contains(&format!("`{name}`")), "docs/METRICS.md does not name {name}");
        for label in metric.labels() {
            let row = documentation.lines().find(|l| l.contains(&format!("`{name}`"))).unwrap();
            assert!(
                row.contains(&format!("`{label}`")),
                "docs/METRICS.md does not name {name}'s label {label}"
            );
        }
    }
}
