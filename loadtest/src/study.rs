//! `weir-loadtest simulate`: from arguments to scenarios, a progress bar while they run, tables or checks at the end.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use weir_loadtest::simulate::batching::{Results, SCENARIOS, Scenario, study};

use crate::args::{BatchingArgs, OutputArg, SimulateCommand};

/// What stands above results that are kept.
const HEADING: &str = "\
# Batching in virtual time

Written by `weir-loadtest simulate batching --write` from `loadtest/scenarios/batching.toml`; a test of that crate
compares. The scenarios' comments say what is simulated and where the limits come from.
";

/// Runs a study and prints it; the exit status says whether every check holds.
pub(crate) fn simulate(command: SimulateCommand) -> Result<ExitCode> {
    let SimulateCommand::Batching(args) = command;
    let results = batching(&args)?;
    let checks = results.checks();
    if let Some(folder) = &args.write {
        write(folder, &results)?;
    }
    match args.output {
        OutputArg::Json => println!("{}", serde_json::to_string_pretty(&checks)?),
        OutputArg::Table => print!("{results}"),
    }
    let fallen: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    for check in &fallen {
        eprintln!("weir-loadtest: {} {} but it is {}", check.name, check.limit, check.value);
    }
    Ok(if fallen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn batching(args: &BatchingArgs) -> Result<Results> {
    let mut scenarios = Vec::new();
    for file in &args.scenario {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        scenarios.extend(Scenario::parse(&text).with_context(|| file.display().to_string())?);
    }
    if scenarios.is_empty() {
        scenarios = Scenario::parse(SCENARIOS)?;
    }
    let bar = progress_bar();
    let baselines = args.baselines || args.write.is_some();
    let results = study(scenarios, args.seeds.values(), baselines, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    results
}

fn write(folder: &Path, results: &Results) -> Result<()> {
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    file("batching.md", format!("{HEADING}\n{results}"))?;
    file("batching.json", serde_json::to_string_pretty(&results.records())? + "\n")
}

/// A bar on the terminal; indicatif draws nothing when stderr is not one.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {pos}/{len} runs  [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
