//! The arguments of `weir-loadtest simulate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_loadtest::simulate::Seeds;

use crate::args::OutputArg;

#[derive(Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// How many requests one device answers in time, and how soon the others learn that it will not.
    Batching(BatchingArgs),
}

const EXAMPLES: &str = "\
What it does:
  Simulated clients send requests with deadlines; a simulated device runs batches that take base + rows x per-row.
  Who gets in and what runs together is decided by the code that the worker runs. Time is virtual: a minute of load
  takes a fraction of a second, and a seed always gives the same figures.

  Every figure is the median over the seeds. Scenarios say which figures Weir must reach (gates).

Examples:
  The figures that are in the repository, and whether they hold:
    weir-loadtest simulate batching

  Beside the rules of other servers, which must come out as independent studies found them:
    weir-loadtest simulate batching --baselines

  A device and clients of your own; the comments in loadtest/scenarios/batching.toml explain the keys:
    weir-loadtest simulate batching --scenario mine.toml --seeds 1-20

  After a change to batching, from the root of the repository, write the results that are kept there:
    weir-loadtest simulate batching --write

Exit status: 0 = every check holds, 1 = one does not or the study could not run, 2 = wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BatchingArgs {
    /// Scenarios to run, a TOML file; repeat for several; default: those of the repository
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Vec<PathBuf>,

    /// Seeds of arrivals and batch times, such as 3, 1-5 or 1,4,7-9
    #[arg(long, default_value = "1-5")]
    pub(crate) seeds: Seeds,

    /// Runs the rules of other servers as well, where a scenario names them
    #[arg(long)]
    pub(crate) baselines: bool,

    /// What to print; JSON is an array of checks: name, value, limit, ok
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: OutputArg,

    /// Writes batching.md and batching.json into a folder, baselines included
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "loadtest/results")]
    #[arg(conflicts_with_all = ["scenario", "seeds"])]
    pub(crate) write: Option<PathBuf>,
}
