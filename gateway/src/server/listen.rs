//! Takes the addresses of the configuration before anything else starts, so that a port in use is one clear line
//! and not a panic in a serving thread.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd as _,
    sync::Arc,
};

use pingora::server::{Fds, ListenFds};

/// An address that is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}{help}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Where the configuration names it.
    pub key: &'static str,
    /// What the system said.
    pub source: io::Error,
    help: String,
}

impl ListenError {
    fn new(address: SocketAddr, key: &'static str, source: io::Error) -> Self {
        let help = match source.kind() {
            ErrorKind::AddrInUse => format!("; `ss -ltnp 'sport = :{}'` shows who does", address.port()),
            ErrorKind::PermissionDenied => "; ports below 1024 need privileges".to_owned(),
            ErrorKind::AddrNotAvailable => "; no interface of this machine has this address".to_owned(),
            _ => String::new(),
        };
        Self { address, key, source, help }
    }
}

/// Listens on one address.
pub(super) fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|source| ListenError::new(address, key, source))
}

/// Listens on every client address, in the form in which pingora takes sockets over.
pub(super) fn bind_all(addresses: &[SocketAddr]) -> Result<ListenFds, ListenError> {
    let mut sockets = Fds::new();
    for address in addresses {
        let listener = bind(*address, "gateway.listen")?;
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(|source| ListenError::new(*address, "gateway.listen", source))?;
        // pingora finds the socket by the text that the listener is added with, and owns it from then on.
        sockets.add(address.to_string(), listener.into_raw_fd());
    }
    Ok(Arc::new(sockets.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_its_key_and_a_way_to_find_the_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "admin.listen").unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("admin.listen"), "{error}");
        assert!(error.contains(&format!("sport = :{}", address.port())), "{error}");
    }

    #[test]
    fn every_client_address_is_handed_over_under_its_own_text() {
        let any = "127.0.0.1:0".parse().unwrap();
        let sockets = bind_all(&[any]).unwrap();
        assert!(sockets.lock().get("127.0.0.1:0").is_some());
    }
}
