//! The command line of `weir-loadtest`. Only the binary knows it; the library takes checked values.

mod simulate;

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue};
use weir_loadtest::{Encoding, InputSpec, Process};
use weir_protocol::{ModelName, Version};

pub(crate) use self::simulate::{BatchingArgs, SimulateCommand};

/// Open-loop load against a Weir gateway, a worker, or any server of the Open Inference Protocol; and studies in
/// virtual time of the code that decides in them.
#[derive(Debug, Parser)]
#[command(name = "weir-loadtest", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends requests on a schedule and reports latency, losses and accuracy.
    Run(RunArgs),
    /// Runs the deciding code itself against simulated clients and devices, in virtual time.
    #[command(subcommand)]
    Simulate(SimulateCommand),
}

const EXAMPLES: &str = "\
How it measures:
  Requests are due on a schedule that does not wait for answers (open loop), and latency counts from the time a
  request was due: a server that stalls shows as latency of everything due meanwhile. A request is lost unless it
  gets status 200 and a well-formed result in time. Nothing is ever sent twice.

Examples:
  What does the model take? Ask the server, send random tensors for ten seconds:
    weir-loadtest run --model digits --rate 200 --duration 10s

  Real images with known labels, and what share is recognised (pixels are 0..16, the model takes 0..1):
    weir-loadtest run --model digits --samples worker/models/digits/holdout.csv --scale 0.0625 --requests 5000

  Binary tensors of a given shape, four rows a request, evenly spaced, as one JSON object:
    weir-loadtest run --model mlp --input x:FP32:4x1024 --encoding binary --arrivals constant --rate 50 -o json

  More than the server can do, answers useful for 50 ms: how many come in time, how soon are the others refused?
    weir-loadtest run --model mlp --encoding binary --rate 6000 --connections 1024 --deadline 50ms --duration 30s

  Kill a worker when half of the requests were due, and see what is lost:
    weir-loadtest run --model digits --rate 500 --requests 5000 --at '50%:kill -9 4711'

Exit status: 0 = nothing lost, 1 = something lost or the run could not start, 2 = wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// The server: a gateway or a worker
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,

    /// Model to ask
    #[arg(long)]
    pub(crate) model: ModelName,

    /// Version to ask; default: the server's choice
    #[arg(long = "version", value_name = "N")]
    pub(crate) model_version: Option<Version>,

    /// Mean requests per second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,

    /// How the gaps between requests are drawn
    #[arg(long, value_enum, default_value_t)]
    pub(crate) arrivals: ArrivalsArg,

    /// Requests in all
    #[arg(long, conflicts_with = "duration")]
    pub(crate) requests: Option<u64>,

    /// As many requests as the rate gives in this time
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// Most connections, and so most requests in flight; one due beyond that is counted as not sent
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,

    /// Time limit of a request, counted from when it was due
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// How long a result is useful, counted from when it was due; sent as x-timeout-ms, and results in time are counted
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) deadline: Option<Duration>,

    /// Seed of arrivals and random tensors
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Random tensor to send, such as image:FP32:1x1x8x8; repeat for several; default: as the server's metadata says
    #[arg(long, value_name = "NAME:DATATYPE:SHAPE", conflicts_with = "samples")]
    pub(crate) input: Vec<InputSpec>,

    /// Labelled samples to send, a CSV file with LABEL,VALUE,VALUE,... lines; accuracy is the share of rows whose
    /// strongest value in the first output is the label
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,

    /// Multiplies every value of a sample
    #[arg(long, default_value_t = 1.0, requires = "samples")]
    pub(crate) scale: f32,

    /// Rows a request, for models with a batch dimension; --input says it in its shape
    #[arg(long, default_value_t = 1, conflicts_with = "input", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows: u64,

    /// How tensors travel, both ways
    #[arg(long, value_enum, default_value_t)]
    pub(crate) encoding: EncodingArg,

    /// Header to add to every request; repeat for several
    #[arg(long, value_name = "NAME:VALUE")]
    pub(crate) header: Vec<HeaderArg>,

    /// Runs a shell command once that share of the requests was due; repeat for several
    #[arg(long, value_name = "SHARE%:COMMAND")]
    pub(crate) at: Vec<AtArg>,

    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: OutputArg,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum ArrivalsArg {
    /// Exponential gaps, as from many independent clients
    #[default]
    Poisson,
    /// Equal gaps
    Constant,
}

impl From<ArrivalsArg> for Process {
    fn from(arg: ArrivalsArg) -> Self {
        match arg {
            ArrivalsArg::Poisson => Self::Poisson,
            ArrivalsArg::Constant => Self::Constant,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum EncodingArg {
    /// JSON numbers
    #[default]
    Json,
    /// Raw bytes after a JSON head (binary tensor extension)
    Binary,
}

impl From<EncodingArg> for Encoding {
    fn from(arg: EncodingArg) -> Self {
        match arg {
            EncodingArg::Json => Self::Json,
            EncodingArg::Binary => Self::Binary,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    /// A table for people
    #[default]
    Table,
    /// JSON for programs
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct HeaderArg(pub(crate) HeaderName, pub(crate) HeaderValue);

impl FromStr for HeaderArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once(':').context("write NAME:VALUE")?;
        Ok(Self(name.trim().parse()?, value.trim().parse()?))
    }
}

/// `SHARE%:COMMAND`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AtArg {
    share: f64,
    pub(crate) command: String,
}

impl AtArg {
    /// The number of requests that must have been due, of `requests` in all.
    pub(crate) fn request(&self, requests: u64) -> u64 {
        (requests as f64 * self.share).ceil() as u64
    }
}

impl FromStr for AtArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (share, command) = text.split_once("%:").context("write SHARE%:COMMAND, such as 50%:date")?;
        let share = share.trim().parse::<f64>().context("the share is not a number")?;
        if !(0.0..=100.0).contains(&share) || command.trim().is_empty() {
            bail!("give a share from 0 to 100 and a command");
        }
        Ok(Self { share: share / 100.0, command: command.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_share_is_turned_into_a_number_of_requests() {
        let at: AtArg = "12.5%:kill -9 1".parse().unwrap();
        assert_eq!((at.request(1_000), at.command.as_str()), (125, "kill -9 1"));
        for bad in ["50", "50%", "50%:", "101%:date", "x%:date", "NaN%:date"] {
            assert!(bad.parse::<AtArg>().is_err(), "{bad}");
        }
    }
}
