//! The load of the demo, by `weir-loadtest`, and what came of it.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    sync::mpsc::Receiver,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{MIN_ACCURACY, MODEL, fleet::Fleet};
use crate::{clock::wait_until, command::spawn, workspace::Workspace};

const REQUESTS: u64 = 6_000;
/// Requests per second: a quarter of a minute in all.
const RATE: u64 = 400;
/// Most requests in flight: a busy machine may stop for a second without a request that cannot be sent. The gateway
/// holds two sockets for each, and 1,024 open files are what a shell usually grants.
const CONNECTIONS: u64 = 450;
/// Pixels are 0 to 16, the model takes 0 to 1.
const SCALE: f64 = 1.0 / 16.0;
const LIMIT: Duration = Duration::from_secs(120);

/// What the load test reported, and what became of the workers.
pub(super) struct Outcome {
    report: Value,
    victim: &'static str,
    workers: usize,
    killed: usize,
}

/// Sends the held-out images through the gateway and kills a worker when half of them were due.
///
/// # Errors
/// The load test did not end with a report, or Ctrl-C was pressed.
pub(super) fn run(workspace: &Workspace, fleet: &mut Fleet, interrupted: &Receiver<()>) -> Result<Outcome> {
    let (victim, pid) = fleet.victim();
    let file = fleet.folder().join("load.json");
    let mut load = Command::new(workspace.binaries("release").join("weir-loadtest"));
    load.args(["run", "--model", MODEL, "-o", "json", "--url", &format!("http://{}", fleet.addresses().0)]);
    load.arg("--samples").arg(workspace.root().join("worker/models").join(MODEL).join("holdout.csv"));
    load.args(["--scale", &SCALE.to_string(), "--requests", &REQUESTS.to_string()]);
    load.args(["--connections", &CONNECTIONS.to_string()]);
    load.args(["--rate", &RATE.to_string(), "--at", &format!("50%:kill -9 {pid}")]);
    println!("sending {REQUESTS} images at {RATE}/s; worker {victim} gets kill -9 midway");
    // Its progress bar is on standard error.
    let mut child = spawn(load.stdin(Stdio::null()).stdout(File::create(&file)?))
        .context("cannot start weir-loadtest")?;
    let ended = wait_until("the load is through", LIMIT, interrupted, || Ok(child.try_wait()?.is_some()));
    if ended.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    ended?;
    let report = fs::read_to_string(&file)?;
    let Ok(report) = serde_json::from_str(&report) else {
        bail!("weir-loadtest ended with {status} and no report: {report}");
    };
    Ok(Outcome { report, victim, workers: fleet.workers(), killed: fleet.killed() })
}

impl Outcome {
    /// The closing line.
    pub(super) fn line(&self) -> String {
        format!(
            "demo: requests={} lost={} accuracy={:.4} p50_ms={:.2} p99_ms={:.2} workers={} killed={}",
            self.count("/requests"),
            self.count("/lost"),
            self.number("/accuracy"),
            self.number("/latency_ms/p50"),
            self.number("/latency_ms/p99"),
            self.workers,
            self.killed,
        )
    }

    /// What a person wants to see.
    pub(super) fn table(&self) -> String {
        let ms = |name| format!("{name} {:.2}", self.number(&format!("/latency_ms/{name}")));
        let latency = ["p50", "p90", "p99", "p999", "max"].map(ms).join("  ");
        let spread = self.report.get("workers").and_then(Value::as_object);
        let spread = spread.into_iter().flatten().map(|(name, count)| {
            let fate = if name == self.victim { " (killed midway)" } else { "" };
            format!("{name} {count}{fate}")
        });
        let mut rows = vec![
            ("answered", format!("{} of {} requests", self.count("/ok"), self.count("/requests"))),
            ("accuracy", format!("{:.4} over the held-out images", self.number("/accuracy"))),
            ("latency ms", latency),
            ("by worker", spread.collect::<Vec<_>>().join("  ")),
            ("in flight", format!("{} when the worker was killed", self.count("/actions/0/in_flight"))),
        ];
        if let Some(loss) = self.report.get("first_loss") {
            rows.push(("first loss", loss.to_string()));
        }
        rows.iter().map(|(name, value)| format!("  {name:<12}{value}\n")).collect()
    }

    /// What is not as promised.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.count("/requests") != REQUESTS {
            faults.push(format!("{} requests were due, not {REQUESTS}", self.count("/requests")));
        }
        if self.count("/lost") != 0 || self.count("/ok") != REQUESTS {
            faults.push(format!("{} requests were lost", self.count("/lost")));
        }
        // False for a missing accuracy too.
        let accurate = self.number("/accuracy") >= MIN_ACCURACY;
        if !accurate {
            faults.push(format!("accuracy is below {MIN_ACCURACY}"));
        }
        if self.killed != 1 {
            faults.push(format!("{} workers were killed, not 1", self.killed));
        }
        faults
    }

    fn count(&self, pointer: &str) -> u64 {
        self.report.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    /// NaN when it is missing.
    fn number(&self, pointer: &str) -> f64 {
        self.report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(lost: u64, accuracy: Option<f64>, killed: usize) -> Outcome {
        let report = json!({
            "requests": REQUESTS, "ok": REQUESTS - lost, "lost": lost, "accuracy": accuracy,
            "latency_ms": { "p50": 1.234, "p90": 2.0, "p99": 5.678, "p999": 8.0, "max": 9.0 },
            "workers": { "a": 3_000, "b": 1_000, "c": 2_000 }, "actions": [{ "in_flight": 7 }],
        });
        Outcome { report, victim: "b", workers: 3, killed }
    }

    #[test]
    fn the_closing_line_has_every_figure() {
        let line = outcome(0, Some(0.9978), 1).line();
        let expected =
            "demo: requests=6000 lost=0 accuracy=0.9978 p50_ms=1.23 p99_ms=5.68 workers=3 killed=1";
        assert_eq!(line, expected);
    }

    #[test]
    fn the_table_says_which_worker_was_killed() {
        let table = outcome(0, Some(1.0), 1).table();
        assert!(table.contains("a 3000  b 1000 (killed midway)  c 2000"), "{table}");
    }

    #[test]
    fn only_a_run_without_loss_and_with_right_answers_and_a_kill_is_good() {
        assert!(outcome(0, Some(0.97), 1).faults().is_empty());
        assert_eq!(outcome(1, Some(0.99), 1).faults().len(), 1);
        assert_eq!(outcome(0, Some(0.9), 1).faults().len(), 1);
        assert_eq!(outcome(0, None, 1).faults().len(), 1);
        assert_eq!(outcome(0, Some(0.99), 0).faults().len(), 1);
    }
}
