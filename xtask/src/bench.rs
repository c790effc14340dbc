//! `cargo xtask bench`: one measurement each, with what it needs built first.

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    command::{cargo, run as start},
    setup,
    workspace::Workspace,
};

/// A measurement: cargo commands in their order; the last one measures and takes further arguments.
struct Bench {
    name: &'static str,
    what: &'static str,
    /// Profile of the binaries in `WEIR_BIN_DIR`.
    profile: &'static str,
    /// Whether it measures beside Envoy, which is then fetched unless `ENVOY` names one.
    beside_envoy: bool,
    steps: &'static [&'static [&'static str]],
}

const BENCHES: [Bench; 7] = [
    Bench {
        name: "worker",
        what: "throughput and lane use at saturation beside the bare libtorch forward",
        profile: "release",
        beside_envoy: false,
        steps: &[&["bench", "-p", "weir-worker", "--bench", "saturation", "--"]],
    },
    Bench {
        name: "overhead",
        what: "the worker's own time for a request of 4 KiB, from its own histogram",
        profile: "release",
        beside_envoy: false,
        steps: &[&["bench", "-p", "weir-worker", "--bench", "overhead", "--"]],
    },
    Bench {
        name: "lone",
        what: "a lone request through HTTP beside its bare forward pass",
        profile: "release",
        beside_envoy: false,
        steps: &[&["bench", "-p", "weir-worker", "--bench", "lone", "--"]],
    },
    Bench {
        name: "overload",
        what: "a worker at 1.5 times what it can do, beside the simulation of it",
        profile: "release",
        beside_envoy: false,
        steps: &[
            &["build", "--release", "-p", "weir-worker", "--bins", "--example", "models"],
            &["run", "--release", "-p", "weir-tests", "--bin", "bench-overload", "--"],
        ],
    },
    Bench {
        name: "encodings",
        what: "CPU per request at the worker, JSON beside binary tensors",
        profile: "release",
        beside_envoy: false,
        steps: &[&["bench", "-p", "weir-worker", "--bench", "encodings", "--"]],
    },
    Bench {
        name: "gateway",
        what: "CPU per request and added latency beside bare pingora, nginx (on PATH, or NGINX) and Envoy",
        profile: "dist",
        beside_envoy: true,
        steps: &[&["bench", "--profile", "dist", "-p", "weir-gateway", "--bench", "compare", "--"]],
    },
    Bench {
        name: "reload",
        what: "time from the write of gateway.toml until requests follow it",
        profile: "release",
        beside_envoy: false,
        steps: &[
            &["build", "--release", "-p", "weir-gateway", "-p", "weir-worker"],
            &["run", "--release", "-p", "weir-tests", "--bin", "bench-reload", "--"],
        ],
    },
];

/// Runs the bench named first, with the other arguments; lists them without a name.
///
/// # Errors
/// The name is unknown, set-up or a build failed, or the bench itself did.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        BENCHES.iter().for_each(|bench| println!("{:<10}{}", bench.name, bench.what));
        return Ok(ExitCode::SUCCESS);
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == *name) else {
        let known: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("'{name}' is no bench; there are {}", known.join(", "));
    };
    setup::run(workspace)?;
    let binaries = workspace.binaries(bench.profile);
    if let Some((measure, builds)) = bench.steps.split_last() {
        for build in builds {
            start(&mut cargo(workspace.root(), *build))?;
        }
        let mut measure = cargo(workspace.root(), *measure);
        if bench.beside_envoy && env::var_os("ENVOY").is_none() {
            measure.env("ENVOY", setup::envoy(workspace)?);
        }
        start(measure.args(rest).env("WEIR_BIN_DIR", binaries))?;
    }
    Ok(ExitCode::SUCCESS)
}
