//! What the text of a file cannot say by itself: environment, files beside it, host names, cores.
//!
//! The only place of this crate that touches the machine. [`System`] is the real one; tests bring their own, so
//! that they depend on no environment variable, no name server and no core count. Called by the reading code.

use std::{
    env, fs, io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    thread,
};

/// Answers questions about the machine that the file is read on.
pub(crate) trait Outside {
    /// An environment variable.
    fn variable(&self, name: &str) -> Result<String, env::VarError>;
    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// Every address of a host name.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    /// Cores granted to this process, at least 1.
    fn cores(&self) -> usize;
}

/// The machine itself.
pub(crate) struct System;

impl Outside for System {
    fn variable(&self, name: &str) -> Result<String, env::VarError> {
        env::var(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Iterator::collect)
    }

    fn cores(&self) -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }
}

#[cfg(test)]
pub(crate) mod fake;
