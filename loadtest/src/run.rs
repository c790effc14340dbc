//! `weir-loadtest run`: from arguments to a plan, a progress bar while it runs, the report at the end.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{process::Command, task::JoinSet};
use weir_loadtest::{
    Call, Encoding, InputSpec, Payload, Plan, Report, Run, Samples, Schedule, Target, metadata::model_inputs,
    report::ActionReport,
};

use crate::args::{AtArg, OutputArg, RunArgs};

/// How often the progress bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Runs the load and prints the report; the exit status says whether anything was lost.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(measure(&args))?;
    match args.output {
        OutputArg::Json => println!("{}", serde_json::to_string(&report)?),
        OutputArg::Table => print!("{report}"),
    }
    Ok(if report.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &RunArgs) -> Result<Report> {
    let schedule = match args.requests {
        Some(requests) => Schedule::new(args.arrivals.into(), args.rate, requests, args.seed),
        None => Schedule::lasting(args.arrivals.into(), args.rate, args.duration, args.seed),
    }?;
    let target = Target::resolve(&args.url).await?;
    let plan = Plan {
        payload: payload(args, &target).await?,
        target,
        schedule,
        connections: args.connections.into(),
        timeout: args.timeout,
        deadline: args.deadline,
    };
    let requests = plan.schedule.requests();
    let run = Run::start(plan)?;
    let actions = watch(&run, requests, &args.at).await;
    let mut report = run.finish().await;
    report.actions = actions;
    Ok(report)
}

async fn payload(args: &RunArgs, target: &Target) -> Result<Payload> {
    let call = Call {
        model: args.model.clone(),
        version: args.model_version,
        headers: args.header.iter().map(|header| (header.0.clone(), header.1.clone())).collect(),
    };
    let inputs = match args.input.as_slice() {
        [] => model_inputs(target, &call, args.rows).await?,
        given => given.to_vec(),
    };
    let encoding = Encoding::from(args.encoding);
    match (&args.samples, inputs.as_slice()) {
        (None, inputs) => Ok(Payload::random(call, inputs, encoding, args.seed)?),
        (Some(file), [input]) => samples(call, input, file, args.scale, encoding),
        (Some(_), inputs) => {
            bail!("samples need a model with one input, {} has {}", args.model, inputs.len())
        }
    }
}

fn samples(call: Call, input: &InputSpec, file: &Path, scale: f32, encoding: Encoding) -> Result<Payload> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let samples = Samples::parse(&text, scale).with_context(|| file.display().to_string())?;
    Ok(Payload::samples(call, input, &samples, encoding)?)
}

/// Stays until every request has its outcome, or Ctrl-C stopped the sending; runs the actions meanwhile.
async fn watch(run: &Run, requests: u64, at: &[AtArg]) -> Vec<ActionReport> {
    let bar = progress_bar(requests);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut commands = JoinSet::new();
    let mut pending: Vec<_> = at.iter().collect();
    pending.sort_by_key(|at| std::cmp::Reverse(at.request(requests)));
    let mut reports = Vec::new();
    loop {
        let next = pending.last().map_or(requests, |at| at.request(requests));
        tokio::select! {
            () = run.due(next), if !pending.is_empty() => {
                if let Some(at) = pending.pop() {
                    commands.spawn(act(at.command.clone(), run.progress()));
                }
            }
            Some(Ok(report)) = commands.join_next() => reports.push(report),
            _ = redraw.tick() => {
                let progress = run.progress();
                bar.set_position(progress.finished);
                bar.set_message(format!("{} in flight, {} lost", progress.in_flight, progress.lost));
                if progress.finished >= requests {
                    break;
                }
            }
            _ = tokio::signal::ctrl_c() => {
                run.stop();
                break;
            }
        }
    }
    bar.finish_and_clear();
    reports.extend(commands.join_all().await);
    reports.sort_by_key(|report: &ActionReport| report.at_request);
    reports
}

async fn act(command: String, now: weir_loadtest::engine::Progress) -> ActionReport {
    let status = Command::new("sh").arg("-c").arg(&command).stdin(std::process::Stdio::null()).status().await;
    let exit_code = status.ok().and_then(|status| status.code());
    ActionReport { command, at_request: now.due, in_flight: now.in_flight, exit_code }
}

/// A bar on the terminal; indicatif draws nothing when stderr is not one.
fn progress_bar(requests: u64) -> ProgressBar {
    let bar = ProgressBar::new(requests);
    let template = "{bar:40} {percent:>3}% {pos}/{len}  {msg}  [{elapsed}]";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
