//! A child process of the benchmark: killed when dropped, its CPU time readable.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Clock ticks per second in /proc (`getconf CLK_TCK`), 100 on every Linux that Weir runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A running child.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command with its output thrown away; errors go to the terminal.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).with_context(|| format!("cannot start {:?}", command.get_program()))
    }

    /// User and system time so far, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The second field is the name in parentheses, which may hold blanks: utime and stime are 12th and 13th after it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || times.next().and_then(Result::ok).context("unexpected /proc/PID/stat");
        let ticks = next()? + next()?;
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
