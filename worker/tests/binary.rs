//! The program itself: arguments, messages, exit codes, signals.

#![cfg(test)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

const MODEL: &str = r#"
backend = "synthetic"
[[input]]
name = "x"
datatype = "FP32"
shape = [2]
[[output]]
name = "y"
datatype = "FP32"
shape = [2]
[synthetic]
"#;

fn worker() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir-worker"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn repository(folder: &Path) {
    fs::create_dir_all(folder.join("m/1")).unwrap();
    fs::write(folder.join("m/model.toml"), MODEL).unwrap();
}

/// A worker that serves, with its log and address.
fn start(folder: &Path, extra: &str) -> (Child, BufReader<ChildStderr>, String) {
    repository(&folder.join("models"));
    let config = folder.join("worker.toml");
    let toml = format!(
        "version = 1\n[worker]\nname = \"w\"\nlisten = \"127.0.0.1:0\"\nrepository = \"models\"\n{extra}"
    );
    fs::write(&config, toml).unwrap();
    let mut child = worker().arg("--config").arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let line = until(&mut log, "\"listening\"");
    let address = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    until(&mut log, "all models are settled");
    (child, log, address)
}

/// Reads the log until a line holds `words`, and returns that line.
fn until(log: &mut impl BufRead, words: &str) -> String {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ends before '{words}'");
    }
    line
}

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[test]
fn help_names_the_two_ways_to_run_it() {
    let Output { status, stdout, .. } = worker().arg("--help").output().unwrap();
    assert!(status.success());
    for words in ["--config <FILE>", "check", "MODEL/1/model.pt"] {
        assert!(text(&stdout).contains(words), "{}", text(&stdout));
    }
    assert_eq!(worker().output().unwrap().status.code(), Some(2), "no arguments");
}

#[test]
fn check_prints_a_table_and_fails_when_something_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    let good = worker().arg("check").arg(folder.path()).output().unwrap();
    let table = text(&good.stdout);
    let row: Vec<_> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(
        (good.status.code(), row.get(..2), row.last()),
        (Some(0), Some(&["m", "1"][..]), Some(&"ok")),
        "{table}"
    );
    fs::write(folder.path().join("m/model.toml"), "backend = 3").unwrap();
    let bad = worker().arg("check").arg(folder.path()).output().unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stdout).contains("model.toml:1:11"), "{}", text(&bad.stdout));
    let none = worker().arg("check").arg(folder.path().join("none")).output().unwrap();
    assert_eq!((none.status.code(), text(&none.stderr).starts_with("cannot list ")), (Some(1), true));
}

#[test]
fn every_problem_of_the_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("worker.toml");
    fs::write(&config, "version = 1\n[worker]\nlisten = \"nowhere\"\nthraeds = 2\n").unwrap();
    let output = worker().arg("--config").arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    for words in ["worker.toml:3:", "worker.toml:4:", "listen", "thraeds", "name"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, address) = (tempfile::tempdir().unwrap(), taken.local_addr().unwrap());
    let config = folder.path().join("worker.toml");
    let toml = format!("version = 1\n[worker]\nname = \"w\"\nlisten = \"{address}\"\nrepository = \".\"\n");
    fs::write(&config, toml).unwrap();
    let output = worker().arg("--config").arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&format!("cannot listen on {address}")),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn either_signal_stops_an_idle_worker_with_0() {
    for name in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, mut log, _) = start(folder.path(), "");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("cut off"), "{rest}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut log, address) = start(folder.path(), "drain_timeout = \"1h\"\n");
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 12];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100", "the worker waits for the body");
    signal(&child, "-TERM");
    until(&mut log, "\"draining\"");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
