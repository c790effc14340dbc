//! Whether the other side is a gateway: who may see load reports and whose internal headers count.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use weir_config::worker::TrustSection;
use weir_protocol::headers;

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    in_trusted_network: bool,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, trust: &TrustSection) -> Self {
        // A listener on `::` sees IPv4 peers as mapped addresses.
        let ip: IpAddr = address.ip().to_canonical();
        Self { in_trusted_network: trust.trusted.iter().any(|network| network.contains(&ip)) }
    }

    /// Whether a request from this peer is a gateway's: by address, or by the shared token.
    pub(super) fn is_trusted(self, request: &HeaderMap, trust: &TrustSection) -> bool {
        let by_token = || {
            let given = request.get(headers::TOKEN).map(http::HeaderValue::as_bytes);
            trust
                .token
                .as_ref()
                .zip(given)
                .is_some_and(|(want, given)| equal(want.reveal().as_bytes(), given))
        };
        self.in_trusted_network || by_token()
    }
}

/// Compares in a time that does not tell how much of a guess was right.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests;
