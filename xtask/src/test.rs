//! `cargo xtask test`: every check and test of the repository, one total.
//!
//! Runners are other programs; their output goes to the terminal as it comes and is read for results on the way. The
//! last line is `test: passed=<n> failed=<n> skipped=<n>`.

mod results;
mod runner;

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::{
    results::Results,
    runner::{RUNNERS, Runner},
};
use crate::{clock::Stopwatch, setup, workspace::Workspace};

/// Sets up, then runs the runners of these names, or all.
///
/// # Errors
/// A name is unknown, set-up failed or a runner could not start. A failed test is an exit status.
pub(crate) fn run(workspace: &Workspace, names: &[&str]) -> Result<ExitCode> {
    if let Some(unknown) = names.iter().find(|name| RUNNERS.iter().all(|runner| runner.name != **name)) {
        let known: Vec<&str> = RUNNERS.iter().map(|runner| runner.name).collect();
        bail!("'{unknown}' is no runner; there are {}", known.join(", "));
    }
    setup::run(workspace)?;
    let mut total = Results::default();
    for runner in RUNNERS.iter().filter(|runner| names.is_empty() || names.contains(&runner.name)) {
        total.add(runner.name, timed(runner, workspace)?);
    }
    println!();
    for name in &total.failures {
        println!("failed: {name}");
    }
    for name in &total.skips {
        println!("skipped: {name}");
    }
    println!("test: {total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn timed(runner: &Runner, workspace: &Workspace) -> Result<Results> {
    println!("\n=== {}: {} ===", runner.name, runner.what);
    let watch = Stopwatch::start();
    let results = runner.run(workspace)?;
    println!("=== {}: {results} in {:.0} s ===", runner.name, watch.elapsed().as_secs_f64());
    Ok(results)
}
