//! Whether the other side is a gateway: who may see load reports and whose internal headers count.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use subtle::ConstantTimeEq as _;
use weir_config::worker::TrustSection;
use weir_protocol::headers;

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    in_trusted_network: bool,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, trust: &TrustSection) -> Self {
        // A listener on `::` sees IPv4 peers as mapped addresses.
        let ip: IpAddr = address.ip().to_canonical();
        Self { in_trusted_network: trust.trusted.iter().any(|network| network.contains(&ip)) }
    }

    /// Whether a request from this peer is a gateway's: by address, or by the shared token.
    pub(crate) fn is_trusted(self, request: &HeaderMap, trust: &TrustSection) -> bool {
        let by_token = || {
            let given = request.get(headers::TOKEN).map(http::HeaderValue::as_bytes);
            trust
                .token
                .as_ref()
                .zip(given)
                // Constant time: how long a wrong guess takes must not say how much of it was right.
                .is_some_and(|(want, given)| want.reveal().as_bytes().ct_eq(given).into())
        };
        self.in_trusted_network || by_token()
    }
}

#[cfg(test)]
mod tests;
