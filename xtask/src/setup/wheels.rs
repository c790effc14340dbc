//! Wheels of the Python registry as archives: downloaded by pip against pinned checksums, then unpacked.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    command::{command, run},
    workspace::Workspace,
};

/// pip matches these literally: a newer tag does not imply an older one.
const PLATFORMS: [&str; 8] = [
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_26",
    "manylinux_2_25",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
];

/// Downloads the wheels that `xtask/requirements/<requirements>` pins and unpacks the members that match one of
/// `patterns` into `folder`.
///
/// # Errors
/// A download failed or has another checksum, or a wheel cannot be unpacked.
pub(super) fn unpack(
    workspace: &Workspace,
    requirements: &str,
    patterns: &[&str],
    folder: &Path,
) -> Result<()> {
    let wheels = folder.join("wheels");
    let scripts = workspace.root().join("xtask");
    let mut download = command("python3", ["-m", "pip", "download", "--disable-pip-version-check"]);
    download.args(["--no-deps", "--only-binary=:all:", "--require-hashes"]);
    // The Python that the wheels are for: any will do, they are not installed.
    download.args(["--implementation", "cp", "--python-version", "3.12"]);
    for platform in PLATFORMS {
        download.arg("--platform").arg(format!("{platform}_x86_64"));
    }
    download.arg("--dest").arg(&wheels).arg("-r").arg(scripts.join("requirements").join(requirements));
    run(&mut download)?;
    let mut unpack = command("python3", [scripts.join("unpack.py"), wheels.clone(), folder.to_owned()]);
    run(unpack.args(patterns))?;
    fs::remove_dir_all(&wheels).with_context(|| format!("cannot remove {}", wheels.display()))
}
