//! `weir-worker`: reads its arguments and its configuration, and runs the worker.

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use weir_config::WorkerConfig;
use weir_worker::{
    backend::Host,
    check,
    device::{self, Cpu},
    server::Server,
    shutdown::{Phase, Signals, exit_now},
};

/// Rust's own allocations; glibc's malloc is tuned for libtorch and left to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Most threads that read and write large bodies; more would only take cores from the lanes.
const BLOCKING_THREADS: usize = 8;

/// Serves PyTorch (TorchScript) models over the Open Inference Protocol, with dynamic batching.
///
/// The repository holds a folder per model: MODEL/model.toml says what the model takes and gives,
/// MODEL/1/model.pt is version 1, and so on.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Serve {
    /// The worker's configuration; config/worker.toml is a commented example
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Loads every model version of a repository, warms it up, and prints what is wrong and what batches cost
    ///
    /// A line for each version and bucket of lengths. MOST is the most rows of a batch that work. A batch takes BASE MS
    /// and ROW MS for each of its rows, with a lane at work on every core; batches of more than USEFUL rows gain less than
    /// a tenth in throughput. ROWS/S is what one lane does in batches of 1, of half the MOST and of the MOST rows.
    ///
    /// Exits with 1 when a version would not serve as its model.toml says.
    Check {
        /// Folder with a folder per model
        repository: PathBuf,
    },
}

fn main() -> ExitCode {
    // Before any thread exists and any tensor is made.
    let tuned = device::tune_malloc();
    let cli = Cli::parse();
    start_log(cli.command.is_some());
    if !tuned {
        tracing::warn!("malloc could not be tuned; large models will run slower");
    }
    match (cli.command, cli.serve.config) {
        (Some(Command::Check { repository }), _) => check(&repository),
        (None, Some(file)) => serve(&file),
        (None, None) => ExitCode::FAILURE,
    }
}

/// Logs go to stderr: lines for a person at a terminal, JSON otherwise. `WEIR_LOG` chooses the levels.
fn start_log(quiet: bool) {
    let default = if quiet { "error" } else { "info" };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if stderr().is_terminal() { log.init() } else { log.json().flatten_event(true).init() }
}

fn check(repository: &Path) -> ExitCode {
    let host = Host { cpu: Cpu::new(memory()), intra_op_threads: 1 };
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    match check::run(repository, &host, u32::try_from(lanes).unwrap_or(u32::MAX)) {
        Ok(outcome) => {
            print!("{}", outcome.table);
            if outcome.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cannot list {}: {error}", repository.display());
            ExitCode::FAILURE
        }
    }
}

fn serve(file: &Path) -> ExitCode {
    let config = match WorkerConfig::load(file) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker.threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("front")
        .enable_all()
        .build();
    // The runtime is never dropped: that would wait for threads which nobody needs any more.
    match runtime.map(|runtime| (runtime.block_on(run(config)), runtime)) {
        Ok((Ok(()), _runtime)) => exit_now(0),
        Ok((Err(error), _)) | Err(error) => {
            eprintln!("weir-worker: {error}");
            exit_now(1)
        }
    }
}

async fn run(config: WorkerConfig) -> std::io::Result<()> {
    let mut signals = Signals::new()?;
    let open_files = device::raise_open_files_limit();
    let cpu = Cpu::new(config.cpu.memory.unwrap_or_else(memory));
    let memory = cpu.total();
    let server = Server::bind(config, cpu, rand::random()).await?;
    let name = server.worker().config.worker.name.clone();
    tracing::info!(worker = %name, address = %server.address()?, %memory, open_files, "listening");
    server.load()?;
    let shutdown = server.worker().shutdown.clone();
    let mut running = std::pin::pin!(server.run());
    loop {
        tokio::select! {
            () = &mut running => return Ok(()),
            name = signals.next() => {
                if shutdown.phase() != Phase::Running {
                    tracing::warn!(signal = name, "stopping at once");
                    exit_now(130);
                }
                tracing::info!(signal = name, "stopping; a second signal stops at once");
                shutdown.enter(Phase::Draining);
            }
        }
    }
}

fn memory() -> weir_protocol::Bytes {
    device::memory_limit(&|path| std::fs::read_to_string(path).ok())
}
