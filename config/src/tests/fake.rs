//! A machine for tests: eight cores, a few host names, variables and files.

use std::{
    env::VarError,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use crate::outside::Outside;

/// The folder that test files seem to stand in.
pub(crate) const FOLDER: &str = "/etc/weir";

/// The machine of the tests.
pub(crate) struct Fake;

impl Outside for Fake {
    fn variable(&self, name: &str) -> Result<String, VarError> {
        match name {
            "WEIR_WORKER_TOKEN" => Ok("worker-secret".to_owned()),
            "EMPTY" => Ok(" \n".to_owned()),
            "TWO_LINES" => Ok("a\nb".to_owned()),
            "NOT_UNICODE" => Err(VarError::NotUnicode("x".into())),
            _ => Err(VarError::NotPresent),
        }
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/etc/weir/admin.token" | "/run/secrets/token") => Ok("admin-secret\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: &[&str] = match host {
            "localhost" => &["::1", "127.0.0.1"],
            "gpu-1" => &["10.0.0.9", "10.0.0.7", "fd00::1"],
            "empty" => &[],
            _ => return Err(io::Error::other("no such host")),
        };
        Ok(found.iter().map(|ip| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)).collect())
    }

    fn cores(&self) -> usize {
        8
    }
}
