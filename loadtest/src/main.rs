//! `weir-loadtest`: reads the command line, runs the library, prints the report.
//!
//! Everything that could be of use elsewhere is in the library; here are terminal, signals and exit status.

mod args;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    match run::run(args) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("weir-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
