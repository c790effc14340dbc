//! A server process that ends with xtask, whatever way xtask ends.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::command::spawn;

/// Lines of a log that are shown when its process ended by itself.
const LAST_LINES: usize = 15;

/// A child whose output goes to a file. Killed on drop.
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in `<folder>/<name>.log`.
    ///
    /// # Errors
    /// The program or the log cannot be opened.
    pub(super) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A group of its own, so that Ctrl-C reaches xtask alone, which then stops everything in order.
        let child = spawn(command.process_group(0)).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// The process has ended: with its status and the last lines of its log.
    pub(super) fn must_run(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n  ");
        bail!("{} ended with {status}; the end of {}:\n  {last}", self.name, self.log.display())
    }

    /// Whether it was ended by SIGKILL.
    pub(super) fn was_killed(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        status.and_then(|status| status.signal()) == Some(libc::SIGKILL)
    }

    /// Whether it still runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop.
    pub(super) fn terminate(&mut self) {
        if self.runs() {
            // SAFETY: no memory is involved; the child is not reaped yet, so its id is still its own.
            unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
