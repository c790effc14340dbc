//! The runners: what each starts and how its results are read.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::results::{Format, Results};
use crate::{
    command::{cargo, command, run, shown, spawn},
    setup::{self, Supply},
    workspace::Workspace,
};

/// One program that checks or tests.
pub(super) struct Runner {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    format: Format,
    prepare: fn(&Workspace) -> Result<Prepared>,
}

enum Prepared {
    Ready(Command),
    /// It cannot run on this machine, for this reason.
    Skipped(String),
}

pub(super) const RUNNERS: [Runner; 5] = [
    Runner { name: "fmt", what: "formatting", format: Format::ExitStatus, prepare: fmt },
    Runner { name: "clippy", what: "lints", format: Format::ExitStatus, prepare: clippy },
    Runner { name: "build", what: "the binaries under test", format: Format::ExitStatus, prepare: build },
    Runner {
        name: "rust",
        what: "unit, property and end-to-end tests",
        format: Format::Libtest,
        prepare: rust,
    },
    Runner { name: "clients", what: "stock Python clients", format: Format::Summary, prepare: clients },
];

fn fmt(workspace: &Workspace) -> Result<Prepared> {
    Ok(Prepared::Ready(cargo(workspace.root(), ["fmt", "--all", "--check"])))
}

fn clippy(workspace: &Workspace) -> Result<Prepared> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    Ok(Prepared::Ready(cargo(workspace.root(), arguments)))
}

fn build(workspace: &Workspace) -> Result<Prepared> {
    Ok(Prepared::Ready(build_command(workspace)))
}

fn build_command(workspace: &Workspace) -> Command {
    cargo(workspace.root(), ["build", "-p", "weir-worker", "-p", "weir-gateway", "-p", "weir-loadtest"])
}

fn rust(workspace: &Workspace) -> Result<Prepared> {
    let mut tests = cargo(workspace.root(), ["test", "--workspace", "--no-fail-fast"]);
    tests.env("WEIR_BIN_DIR", workspace.binaries("debug"));
    Ok(Prepared::Ready(tests))
}

fn clients(workspace: &Workspace) -> Result<Prepared> {
    let packages = match setup::clients(workspace)? {
        Supply::Ready(folder) => folder,
        Supply::Missing(reason) => return Ok(Prepared::Skipped(reason)),
    };
    // The forward pass that answers are compared with, and the binaries as the checkout has them.
    run(&mut build_command(workspace))?;
    run(&mut cargo(workspace.root(), ["build", "-p", "weir-worker", "--example", "forward"]))?;
    let mut tests = command("python3", ["-B", "tests/clients/run.py"]);
    tests.current_dir(workspace.root()).env("PYTHONPATH", packages);
    tests.env("WEIR_BIN_DIR", workspace.binaries("debug"));
    for (name, supply) in
        [("MLSERVER", setup::mlserver(workspace)?), ("PERF_ANALYZER", setup::perf_analyzer(workspace)?)]
    {
        match supply {
            Supply::Ready(path) => tests.env(format!("WEIR_{name}"), path),
            Supply::Missing(reason) => tests.env(format!("WEIR_{name}_MISSING"), reason),
        };
    }
    Ok(Prepared::Ready(tests))
}

impl Runner {
    /// Runs to the end, failures included.
    ///
    /// # Errors
    /// The program could not be prepared or started.
    pub(super) fn run(&self, workspace: &Workspace) -> Result<Results> {
        let mut results = Results::default();
        match (self.prepare)(workspace)? {
            Prepared::Skipped(reason) => results.skip(reason),
            Prepared::Ready(mut program) => {
                println!("$ {}", shown(&program));
                let mut child = spawn(program.stdout(Stdio::piped()))
                    .with_context(|| format!("cannot start: {}", shown(&program)))?;
                let output = child.stdout.take().context("no output to read")?;
                // Bytes and not lines: a test may print what is not UTF-8.
                for line in BufReader::new(output).split(b'\n') {
                    let line = line?;
                    let line = String::from_utf8_lossy(&line);
                    println!("{line}");
                    results.read(self.format, &line);
                }
                results.end(self.format, child.wait()?);
            }
        }
        Ok(results)
    }
}
