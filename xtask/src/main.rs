//! `cargo xtask`: everything one does with this repository besides editing it.
//!
//! Only this file knows the command line. Each command is a module that prints its progress and answers an exit
//! status. Nothing here is part of the product: no crate depends on xtask, and xtask on no other crate, so that it
//! builds within seconds on a machine where nothing is set up.

mod bench;
mod clock;
mod command;
mod demo;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{demo::Stay, workspace::Workspace};

const HELP: &str = "\
cargo xtask COMMAND

  setup                 fetch what a build needs (libtorch, cmake); seconds when nothing is to do
  demo [--once]         build, start a gateway and three workers with a real model, send load, kill a worker midway;
                        stays up until Ctrl-C, or ends after the load with --once
  test [RUNNER...]      run every check and test, or only the runners named: fmt clippy build rust clients
  bench NAME [ARG...]   measure one thing; without a NAME: the list

Downloads go to $WEIR_CACHE, by default ~/.cache/weir, and are shared by all checkouts.";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        ["setup"] => setup::run(&workspace).map(|()| ExitCode::SUCCESS),
        ["demo"] => demo::run(&workspace, Stay::UntilInterrupted),
        ["demo", "--once"] => demo::run(&workspace, Stay::Once),
        ["test", runners @ ..] => test::run(&workspace, runners),
        ["bench", rest @ ..] => bench::run(&workspace, rest),
        other => bail!("'{}' is no command\n\n{HELP}", other.join(" ")),
    }
}
