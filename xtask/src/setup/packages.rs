//! Python packages that checks use, each list in a folder of the cache: the stock clients, and MLServer.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
    path::Path,
};

use anyhow::{Context, Result};

use super::{Supply, cache};
use crate::{
    command::{command, output_of, run},
    workspace::Workspace,
};

/// A pinned list of packages.
struct List {
    /// Its file in xtask/requirements, without the ending.
    name: &'static str,
    /// For the message while it is fetched.
    what: &'static str,
    /// Python 3 minor versions that the file has checksums for.
    minors: RangeInclusive<u32>,
}

const CLIENTS: List = List { name: "clients", what: "the Python clients, 66 MB", minors: 10..=14 };
const MLSERVER: List =
    List { name: "mlserver", what: "MLServer, a worker of another make, 77 MB", minors: 10..=12 };

/// The stock clients, as a folder for `PYTHONPATH`.
///
/// # Errors
/// There is no python3, or a download failed.
pub(crate) fn clients(workspace: &Workspace) -> Result<Supply> {
    install(workspace, &CLIENTS)
}

/// MLServer with all that it loads, as a folder for `PYTHONPATH`.
///
/// # Errors
/// There is no python3, or a download failed.
pub(crate) fn mlserver(workspace: &Workspace) -> Result<Supply> {
    install(workspace, &MLSERVER)
}

fn install(workspace: &Workspace, list: &List) -> Result<Supply> {
    let List { name, what, minors } = list;
    let minor = output_of("python3", &["-c", "import sys; print(sys.version_info.minor)"])
        .and_then(|text| text.trim().parse::<u32>().ok())
        .context("python3 does not run")?;
    if !minors.contains(&minor) {
        let (first, last) = (minors.start(), minors.end());
        return Ok(Supply::Missing(format!(
            "{name}.txt is pinned for Python 3.{first} to 3.{last}, this is 3.{minor}"
        )));
    }
    let requirements = workspace.root().join("xtask/requirements").join(format!("{name}.txt"));
    let text = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let folder = format!("{name}-py3{minor}-{:016x}", hasher.finish());
    let folder = cache::provide(workspace.cache(), &folder, Path::is_dir, |folder| {
        println!("setup: fetching {what}, once for this user");
        let mut install = command("python3", ["-m", "pip", "install", "--disable-pip-version-check"]);
        // It warns about the system's own packages, which a folder of one's own does not touch.
        install.env("PIP_ROOT_USER_ACTION", "ignore");
        install.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"]);
        run(install.arg(folder).arg("-r").arg(&requirements))
    })?;
    Ok(Supply::Ready(folder))
}
