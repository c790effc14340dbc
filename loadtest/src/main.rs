//! `weir-loadtest`: reads the command line, runs the library, prints the report.
//!
//! Everything that could be of use elsewhere is in the library; here are terminal, signals and exit status.

mod args;
mod run;
mod study;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Simulate(command) => study::simulate(command),
    };
    match done {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("weir-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
