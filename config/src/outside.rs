//! What the text of a file cannot say by itself: environment, files beside it, host names, cores.
//!
//! The only place of this crate that touches the machine. [`System`] is the real one; tests bring their own, so
//! that they depend on no environment variable, no name server and no core count. Called by the reading code.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    thread,
};

/// Largest file beside a configuration that is read, in bytes; a secret takes a few dozen.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Answers questions about the machine that the file is read on.
pub(crate) trait Outside {
    /// An environment variable.
    fn variable(&self, name: &str) -> Result<String, env::VarError>;
    /// The text of a small file.
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
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Iterator::collect)
    }

    fn cores(&self) -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(System.cores() >= 1);
        assert!(System.variable("PATH").is_ok());
        assert_eq!(System.variable("A=B"), Err(env::VarError::NotPresent));
        assert_eq!(System.resolve("127.0.0.1", 80).unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[test]
    fn a_file_that_is_no_secret_is_not_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "secret\n").unwrap();
        assert_eq!(System.file(file.path()).unwrap(), "secret\n");
        assert_eq!(System.file(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
