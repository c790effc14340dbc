//! One child process: its log in a file, its end certain.
//!
//! Signals go to the process id that was started, never to a name. Dropping kills and reaps; should the test itself
//! be killed, the kernel kills the child.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::eventually;

/// Lines of a log that a failing test prints.
const TAIL_LINES: usize = 60;

/// A running or ended child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program. Its output is appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened or the program not started.
    pub fn start(name: &str, program: &Path, arguments: &[&str], log: PathBuf) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and takes plain integers.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// It could not be signalled or waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Errors
    /// It has ended before.
    pub fn terminate(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} has ended before", self.name);
        // The child was not reaped, so its id cannot belong to another process.
        let status = Command::new("kill").args(["-TERM", &self.id().to_string()]).status()?;
        ensure!(status.success(), "kill -TERM {}: {status}", self.id());
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It still runs after 30 seconds.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), async || self.child.try_wait()?.context("still runs")).await
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// With how it ended and the end of its log, when it does not.
    pub fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let signal = status.signal().map(|signal| format!(" (signal {signal})")).unwrap_or_default();
        anyhow::bail!("{} has ended: {status}{signal}\n{}", self.name, self.log_tail());
    }

    /// Resident memory now and at its highest, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib: u64 =
                line.and_then(|rest| rest.split_whitespace().next()).context("no such field")?.parse()?;
            anyhow::Ok(kib * 1024)
        };
        Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// The whole log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the log, under a heading.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        tail.fold(format!("--- log of {} ---\n", self.name), |text, line| text + line + "\n")
    }
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Most that was ever resident.
    pub peak: u64,
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        // An error means that it has ended already.
        let _ = self.kill();
    }
}
