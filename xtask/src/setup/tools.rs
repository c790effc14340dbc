//! What must be on the machine before anything else: said all at once, with the package that brings it.

use std::env;

use anyhow::{Result, bail};

use crate::command::output_of;

/// A tool that set-up cannot fetch.
struct Tool {
    name: &'static str,
    /// What brings it, on Debian and Ubuntu.
    package: &'static str,
    present: fn() -> bool,
}

const TOOLS: [Tool; 5] = [
    Tool { name: "rustc", package: "rustup (https://rustup.rs)", present: || answers("rustc") },
    Tool { name: "a C compiler (cc)", package: "gcc", present: || answers("cc") },
    Tool { name: "a C++ compiler (c++, g++ or clang++)", package: "g++", present: cpp_compiler },
    Tool { name: "make", package: "make", present: || answers("make") },
    Tool { name: "python3 with pip", package: "python3-pip", present: pip },
];

/// # Errors
/// The machine is not Linux on x86-64, or tools are missing.
pub(super) fn check() -> Result<()> {
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    if (os, arch) != ("linux", "x86_64") {
        bail!("this is {os} on {arch}; set-up knows libtorch for linux on x86_64 only");
    }
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !(tool.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        missing.iter().map(|tool| format!("  {:<40} apt package: {}", tool.name, tool.package)).collect();
    bail!("missing on this machine:\n{}", lines.join("\n"))
}

fn answers(program: &str) -> bool {
    output_of(program, &["--version"]).is_some()
}

fn cpp_compiler() -> bool {
    env::var("CXX").is_ok_and(|cxx| answers(&cxx)) || ["c++", "g++", "clang++"].into_iter().any(answers)
}

fn pip() -> bool {
    output_of("python3", &["-m", "pip", "--version"]).is_some()
}
