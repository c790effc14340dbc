//! `weir-loadtest simulate` as people and programs meet it: what it prints, and how it exits.

#![cfg(test)]

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

/// A second of a device that is half idle, held to answer that share of requests in time.
fn scenario(at_least: f64) -> String {
    format!(
        "[[scenario]]\nname = 'small'\nabout = 'A second.'\nloads = [0.5]\nlength = '2s'\nwarm_up = '1s'\n\
         model = [{{ base = '8ms', per_row = '1ms', max_batch_rows = 32 }}]\nstream = [{{ deadline = '200ms' }}]\n\
         gate = [{{ figure = 'in_time', at_least = [{at_least}] }}]\n\
         baselines = [{{ rule = 'greedy-fifo', study = [1.0] }}]\n"
    )
}

/// Runs the command with a scenario of that text.
fn simulate(scenario: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
    command.args(["simulate", "batching", "--scenario"]).arg(&file).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn json_is_an_array_of_checks_and_nothing_else() {
    let output = simulate(&scenario(0.9), &["-o", "json", "--seeds", "1-3", "--baselines"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        checks.iter().map(|check| check["name"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "small, load 0.5: in time, at least",
            "small, greedy-fifo, load 0.5: distance from the study, at most"
        ]
    );
    for check in checks {
        let fields: Vec<_> = check.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["limit", "name", "ok", "value"]);
        assert_eq!(check["ok"], true, "{check}");
    }
}

#[test]
fn a_gate_that_falls_short_is_named_and_makes_the_exit_status() {
    let output = simulate(&scenario(1.5), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("small, load 0.5: in time, at least 1.5 but it is 1"));
    assert!(text(&output.stdout).contains("| weir       |    100.0 |"), "{}", text(&output.stdout));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_place() {
    let output = simulate("[[scenario]]\nname = 'x'\nabout = ''\nload = [0.8]\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("scenario.toml") && said.contains("line 4") && said.contains("load"), "{said}");
}

#[test]
fn scenarios_of_ones_own_are_never_written_as_the_results_that_are_kept() {
    let output = simulate(&scenario(0.9), &["--write", "."]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
