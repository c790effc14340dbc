//! `weir-gateway`: the command line, the log, and nothing else. Everything it starts is in the library.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tracing::Subscriber;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{self, FilterExt as _, LevelFilter},
    fmt,
    layer::{Filter, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use weir_config::{GatewayConfig, Problems};
use weir_gateway::{reload::Loaded, server, telemetry::access};

/// Allocates the gateway's memory: many small, short-lived buffers from many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `WEIR_LOG` says otherwise. pingora writes a line for every failed attempt, which the
/// metrics and the access log tell better.
const DEFAULT_LOG: &str = "info,pingora_proxy=off,pingora_core=error";

/// One address in front of a fleet of model-serving workers.
///
/// Clients speak the Open Inference Protocol to the gateway; it sends each request to a healthy worker that serves
/// the model, repeats it elsewhere when a worker fails, and follows changes of its configuration file without a
/// restart.
#[derive(Parser)]
#[command(name = "weir-gateway", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  weir-gateway --config gateway.toml        serve; edit the file and it is live within 100 ms
  weir-gateway check gateway.toml           list every problem of a file, change nothing
  curl http://127.0.0.1:8081/v1/workers     what it knows of its workers (the [admin] listener)
  curl -X POST -H 'x-weir-admin: 1' http://127.0.0.1:8081/v1/workers/w1/drain

A smallest gateway.toml:
  version = 1
  [[worker]]
  name = \"w1\"
  url = \"http://127.0.0.1:9001\"

Signals:
  SIGTERM, SIGINT   finish what is open, then exit; a second one exits at once
  SIGHUP            read the configuration again

Environment:
  WEIR_LOG          what to log to standard error, such as debug or info,weir_gateway=trace";

#[derive(Args)]
struct Serve {
    /// The gateway's configuration; docs/CONFIG.md lists every key.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a configuration, lists every problem with its place, and exits with 1 if there is one.
    Check {
        /// The file to check.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.serve.config) {
        (Some(Command::Check { file }), _) => check(&file),
        (None, Some(file)) => serve(file),
        (None, None) => ExitCode::FAILURE, // clap has asked for one of them
    }
}

fn check(file: &Path) -> ExitCode {
    match GatewayConfig::load(file) {
        Ok(config) => {
            println!("{}", summary(file, &config));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{}", told(&problems));
            ExitCode::FAILURE
        }
    }
}

fn summary(file: &Path, config: &GatewayConfig) -> String {
    format!(
        "{}: ok: workers {}, routes {}, models with settings of their own {}; listens on {:?}, admin on {}",
        file.display(),
        config.workers.len(),
        config.routes.len(),
        config.models.len(),
        config.gateway.listen,
        config.admin.listen,
    )
}

/// The problems, one a line, and their number.
fn told(problems: &Problems) -> String {
    let count = problems.list.len();
    format!("{problems}\n{count} {}", if count == 1 { "problem" } else { "problems" })
}

fn serve(file: PathBuf) -> ExitCode {
    let loaded = match Loaded::read(&file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{}", told(&problems));
            return ExitCode::FAILURE;
        }
    };
    let _access_log = start_log();
    // The usual soft limit of 1,024 is less than two connections for each request that may be in flight.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
    match server::run(file, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the log to standard error, as text to a terminal and else as one JSON object a line like the access log,
/// which goes to standard output.
///
/// Access lines are written by a thread of their own from a bounded queue; when whoever reads them is too slow,
/// lines are dropped rather than requests held up. The guard writes out what is queued when it is dropped.
fn start_log() -> WorkerGuard {
    let (output, guard) = tracing_appender::non_blocking(io::stdout());
    let terminal = io::stderr().is_terminal();
    let text = terminal.then(|| fmt::layer().with_writer(io::stderr).with_filter(log_filter()));
    let json = (!terminal)
        .then(|| fmt::layer().json().flatten_event(true).with_writer(io::stderr).with_filter(log_filter()));
    let access =
        fmt::layer().json().flatten_event(true).with_level(false).with_target(false).with_writer(output);
    // The hints let pingora's debug and trace calls end at one comparison: without them each goes through all of this.
    let is_access = filter::filter_fn(|event| event.target() == access::TARGET);
    let access = access.with_filter(is_access.with_max_level_hint(LevelFilter::INFO));
    tracing_subscriber::registry().with(text).with(json).with(access).init();
    guard
}

/// `WEIR_LOG` or the default, never with access lines.
fn log_filter<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Filter<S> {
    let wanted = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let not_access = filter::filter_fn(|event| event.target() != access::TARGET);
    wanted.and(not_access.with_max_level_hint(LevelFilter::TRACE))
}
