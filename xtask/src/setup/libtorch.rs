//! libtorch for CPU, cut out of the PyTorch wheel.
//!
//! The whole wheel asks for gigabytes of CUDA libraries. These few files are what a CPU process loads; a machine
//! with a full PyTorch of the same version can be pointed to that instead (`LD_LIBRARY_PATH`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{cache, wheels};
use crate::{
    command::{command, run},
    workspace::Workspace,
};

/// Must be the one that the `tch` crate of Cargo.toml is made for.
pub(super) const VERSION: &str = "2.11.0";

/// Written by set-up itself.
const LINK_STUB: &str = "torch/lib/libtorch.so";
const BUILD_VERSION: &str = "torch/build-version";
const LIBRARIES: [&str; 5] = [
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia/cu13/lib/libcupti.so.13",
];
const HEADERS: &str = "torch/include/*";
/// One header that is there when the headers are.
const A_HEADER: &str = "torch/include/torch/csrc/api/include/torch/torch.h";

/// The folder that holds `torch/lib` and `torch/include`.
///
/// # Errors
/// A download failed.
pub(super) fn install(workspace: &Workspace) -> Result<PathBuf> {
    cache::provide(workspace.cache(), &format!("libtorch-{VERSION}"), complete, |folder| {
        println!("setup: fetching libtorch {VERSION}, 544 MB, once for this user");
        let mut wanted = LIBRARIES.to_vec();
        wanted.push(HEADERS);
        wheels::unpack(workspace, "libtorch.txt", &wanted, folder)?;
        // libtorch.so only pulls in the CPU and CUDA libraries. Programs record its name, so one must be there, but
        // it can be empty: what is needed of libtorch_cpu.so is linked by name.
        let mut stub = command("cc", ["-shared", "-Wl,-soname,libtorch.so", "-x", "c", "/dev/null", "-o"]);
        run(stub.arg(folder.join(LINK_STUB)))?;
        Ok(fs::write(folder.join(BUILD_VERSION), format!("{VERSION}\n"))?)
    })
}

fn complete(folder: &Path) -> bool {
    LIBRARIES.iter().chain(&[LINK_STUB, BUILD_VERSION, A_HEADER]).all(|file| folder.join(file).is_file())
}
