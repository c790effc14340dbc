//! Addresses: listeners, workers, networks.
//!
//! Decides what an operator may write for each and which address of a host name is taken. Whether two of them clash is
//! for the reading code of the file to say.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::parsed;
use crate::reader::{Item, Read, shown};

/// Where a worker listens: `http://host:port` in the file. Host names are resolved when the file is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The address to connect to.
    pub address: SocketAddr,
    /// `host:port` as in the file.
    pub authority: String,
}

/// An IP address and a port to listen on.
pub(crate) fn socket_address(item: &Item<'_>) -> Read<SocketAddr> {
    parsed("an IP address and a port", "write such as \"127.0.0.1:8080\" or \"[::1]:8080\"")(item)
}

/// A network such as `"10.0.0.0/8"`.
pub(crate) fn network(item: &Item<'_>) -> Read<IpNet> {
    let network: IpNet =
        parsed("a network", "write such as \"10.0.0.0/8\"; one address is \"10.1.2.3/32\"")(item)?;
    Ok(network.trunc())
}

/// `http://host:port`. A host name is resolved here and now; of several addresses the lowest is taken, IPv4 first, so
/// that the same answer in another order is no change.
pub(crate) fn upstream(item: &Item<'_>) -> Read<Upstream> {
    let help = "write http://host:port, such as \"http://127.0.0.1:9001\"";
    let text = item.text("an address", help)?;
    let wrong = || item.wrong(format!("`{}` is not a worker's address", shown(text)), help);
    if text.starts_with("https://") {
        return Err(item.wrong("workers are reached over plain http", help));
    }
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| digits && *port > 0).ok_or_else(wrong)?;
    let at =
        |ip: IpAddr| Upstream { address: (ip.to_canonical(), port).into(), authority: authority.to_owned() };
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return Ok(at(address.ip()));
    }
    if !is_host_name(host) {
        return Err(wrong());
    }
    match item.outside().resolve(host, port) {
        Ok(found) => {
            let lowest = found.iter().map(SocketAddr::ip).min();
            lowest.map(at).ok_or_else(|| item.wrong(format!("`{}` has no address", shown(host)), help))
        }
        Err(error) => {
            let help = "check the name, or write an IP address";
            Err(item.wrong(format!("cannot resolve `{}`: {error}", shown(host)), help))
        }
    }
}

/// Letters, digits, `-`, `_` and dots, and no number at the end: that would be a mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}
