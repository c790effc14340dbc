//! perf_analyzer, NVIDIA's load generator, for `tests/clients`: out of an old wheel of the Triton client.
//!
//! The newer wheels no longer hold it. It asks for two libraries: CUDA's run time, which comes as a wheel, and libb64,
//! which only Linux distributions have.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Supply, cache, wheels};
use crate::{
    command::{command, output_of, run},
    workspace::Workspace,
};

/// The one in xtask/requirements/perf_analyzer.txt.
const VERSION: &str = "2.51.0";
const WHEEL_PROGRAM: &str = "tritonclient-2.51.0.data/data/bin/perf_analyzer";
const CUDA: &str = "nvidia/cuda_runtime/lib";
/// The library's name for the linker, and the package of Debian and Ubuntu that brings it.
const BASE64: (&str, &str) = ("libb64.so.0d", "libb64-0d");
/// Starts the program with its libraries.
const START: &str = "perf_analyzer";

/// The path of a perf_analyzer that runs.
///
/// # Errors
/// A download failed.
pub(crate) fn perf_analyzer(workspace: &Workspace) -> Result<Supply> {
    let name = format!("perf_analyzer-{VERSION}");
    let complete = |folder: &Path| output_of(folder.join(START), &["--version"]).is_some();
    let done = workspace.cache().join(&name);
    if !complete(&done) && !on_this_machine() && !apt() {
        let (library, package) = BASE64;
        let reason =
            format!("it needs {library}; install the package {package}, or have apt-get to fetch it");
        return Ok(Supply::Missing(reason));
    }
    let folder = cache::provide(workspace.cache(), &name, complete, |folder| {
        println!("setup: fetching perf_analyzer {VERSION}, 18 MB, once for this user");
        wheels::unpack(workspace, "perf_analyzer.txt", &[WHEEL_PROGRAM, &format!("{CUDA}/*")], folder)?;
        if !on_this_machine() {
            fetch_base64(folder)?;
        }
        write_start(folder).context("cannot write the start script")
    })?;
    Ok(Supply::Ready(folder.join(START)))
}

/// Whether the linker finds libb64 by itself.
fn on_this_machine() -> bool {
    let known = output_of("ldconfig", &["-p"]).or_else(|| output_of("/sbin/ldconfig", &["-p"]));
    known.is_some_and(|text| text.contains(BASE64.0))
}

/// Whether a package can be fetched and unpacked; needs no rights.
fn apt() -> bool {
    let works = |program: &str| output_of(program, &["--version"]).is_some();
    works("apt-get") && works("dpkg-deb") && output_of("apt-cache", &["show", BASE64.1]).is_some()
}

/// Unpacks the distribution's package into `folder`.
fn fetch_base64(folder: &Path) -> Result<()> {
    run(command("apt-get", ["download", "-qq", BASE64.1]).current_dir(folder))?;
    let fetched: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    let package = fetched.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    let package = package.context("apt-get download left no package")?;
    run(command("dpkg-deb", ["-x"]).arg(package).arg(folder))
}

/// Relative to the script, so that the folder can be renamed when it is complete.
fn write_start(folder: &Path) -> io::Result<()> {
    let arch = env::consts::ARCH;
    let script = format!(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\n\
         LD_LIBRARY_PATH=$here/{CUDA}:$here/usr/lib/{arch}-linux-gnu exec \"$here/{WHEEL_PROGRAM}\" \"$@\"\n"
    );
    let file = folder.join(START);
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
}
