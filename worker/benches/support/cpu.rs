//! CPU time that the kernel has counted for a process or a thread.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

/// How the worker's lane threads are named: `lane-0`, `lane-1`, ...
const LANE: &str = "lane-";

/// CPU seconds of a whole process.
pub(crate) fn of_process(id: u32) -> Result<f64> {
    seconds(Path::new(&format!("/proc/{id}/stat")))
}

/// CPU seconds of a worker's lanes.
pub(crate) fn of_lanes(id: u32) -> Result<f64> {
    let mut lanes = Vec::new();
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let path = thread?.path();
        if fs::read_to_string(path.join("comm"))?.starts_with(LANE) {
            lanes.push(seconds(&path.join("stat"))?);
        }
    }
    ensure!(!lanes.is_empty(), "the worker has no thread named {LANE}0");
    Ok(lanes.iter().sum())
}

/// CPU seconds, user and system, from a `stat` file.
pub(crate) fn seconds(file: &Path) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    // Fields 14 and 15; the name before them is in brackets and may hold spaces.
    let fields = text.rsplit(") ").next().context("a stat file")?.split(' ');
    let ticks: u32 = fields.skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    // Linux counts these in hundredths of a second for every program.
    Ok(f64::from(ticks) / 100.0)
}
