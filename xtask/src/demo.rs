//! `cargo xtask demo`: the whole of Weir on one machine, with a real model and a crash on the way.
//!
//! Starts three workers and a gateway on loopback, sends the held-out digits through the gateway, kills a worker
//! when half of them were due, and says what became of every request. With `--once` it ends there; else it stays up
//! to be played with. The servers never outlive it.

mod fleet;
mod http;
mod load;
mod process;

use std::{process::ExitCode, sync::mpsc};

use anyhow::{Context, Result};

use self::{fleet::Fleet, load::Outcome};
use crate::{
    clock::Stopwatch,
    command::{cargo, run as start},
    setup,
    workspace::Workspace,
};

/// The sample model; its folder also holds the images and the example request.
const MODEL: &str = "digits";
/// The least share of held-out images that must be recognised.
const MIN_ACCURACY: f64 = 0.97;

/// What happens after the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Everything is stopped.
    Once,
    /// Everything stays up until Ctrl-C.
    UntilInterrupted,
}

/// Builds, runs and reports; the exit status says whether nothing was lost and the answers were right.
///
/// # Errors
/// Set-up or the build failed, or the servers did not come up.
pub(crate) fn run(workspace: &Workspace, stay: Stay) -> Result<ExitCode> {
    setup::run(workspace)?;
    let build = ["build", "--release", "-p", "weir-worker", "-p", "weir-gateway", "-p", "weir-loadtest"];
    start(&mut cargo(workspace.root(), build))?;

    let (interrupt, interrupted) = mpsc::channel();
    let on_signal = move || {
        // The receiver is gone only when everything is over.
        let _ = interrupt.send(());
    };
    ctrlc::set_handler(on_signal).context("cannot listen for Ctrl-C")?;

    let watch = Stopwatch::start();
    let mut fleet = Fleet::start(workspace)?;
    println!("\nlogs and configuration: {}", fleet.folder().display());
    fleet.wait_until_ready(&interrupted)?;
    println!(
        "gateway and {} workers are ready after {:.1} s",
        fleet.workers(),
        watch.elapsed().as_secs_f64()
    );

    let outcome = load::run(workspace, &mut fleet, &interrupted)?;
    print!("{}", outcome.table());
    if stay == Stay::UntilInterrupted {
        println!("{}\n", outcome.line());
        print!("{}", invitation(&fleet));
        // An error is as good as Ctrl-C: nobody is left to press it.
        let _ = interrupted.recv();
        println!("\nstopping");
        fleet.stop();
        return Ok(verdict(&outcome, fleet));
    }
    fleet.stop();
    let line = outcome.line();
    let code = verdict(&outcome, fleet);
    println!("{line}");
    Ok(code)
}

/// What to try while it is up.
fn invitation(fleet: &Fleet) -> String {
    let (clients, admin) = fleet.addresses();
    let request = fleet.example_request();
    format!(
        "gateway  http://{clients}   models, metadata, inference\n\
         admin    http://{admin}   /v1/workers /v1/models /v1/config /metrics\n\n\
         try:   curl -s http://{clients}/v2/models/{MODEL}/infer -d @{}\n\
         stop:  Ctrl-C\n",
        request.display()
    )
}

/// Success removes the fleet's folder; otherwise it stays, to be looked into.
fn verdict(outcome: &Outcome, fleet: Fleet) -> ExitCode {
    let faults = outcome.faults();
    if faults.is_empty() {
        fleet.remove_folder();
        return ExitCode::SUCCESS;
    }
    for fault in faults {
        eprintln!("error: {fault}");
    }
    eprintln!("logs are kept in {}", fleet.folder().display());
    ExitCode::FAILURE
}
