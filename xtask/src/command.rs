//! Running other programs: shown before they start, checked after they end, and ended when xtask ends.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command},
};

use anyhow::{Context, Result, bail};

/// A program with its arguments.
pub(crate) fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// cargo, in the checkout.
pub(crate) fn cargo<A: AsRef<OsStr>>(root: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    // cargo names itself to what it runs, so that the same toolchain is used.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&cargo, arguments);
    command.current_dir(root);
    // `cargo run` tells xtask about its package. Passed on, this would look like a change to build scripts that watch
    // these variables (ring's does), and minutes of building would be repeated at each turn from cargo to xtask.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    command
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Shows and runs a command; its output goes to the terminal.
///
/// # Errors
/// It could not start, or ended with another status than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = shown(command);
    println!("$ {text}");
    let status = spawn(command).with_context(|| format!("cannot start: {text}"))?.wait()?;
    if !status.success() {
        bail!("failed with {status}: {text}");
    }
    Ok(())
}

/// Starts a child that the kernel kills when xtask ends, even when xtask is killed without a chance to clean up.
/// Call it from the main thread: the kernel looks at the thread that started the child.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = std::process::id().cast_signed();
    let bind = move || {
        // SAFETY: two system calls that take and return numbers.
        let (bound, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        // Another parent: xtask ended before the signal was asked for, so it will not come.
        if bound == 0 && now == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec `bind` makes two system calls, takes no lock and allocates nothing.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

/// Standard output of a program, when it could start and ended with status 0.
pub(crate) fn output_of(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_nothing_about_the_package_xtask() {
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some(), "cargo says it to this test");
        let command = cargo(Path::new("."), ["build"]);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(removed.iter().any(|(removed, _)| *removed == name), "{name}");
        }
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        assert_eq!(shown(&command("/usr/bin/cc", ["-o", "x"])), "cc -o x");
    }
}
