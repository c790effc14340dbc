//! Where requests go: one address, resolved once.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

/// An `http://host[:port]` server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address that connections go to.
    pub address: SocketAddr,
    /// `host[:port]` as given: the Host header.
    pub authority: String,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, authority: address.to_string() }
    }
}

impl Target {
    /// Parses a URL and resolves its host; the first address wins. The default port is 80.
    ///
    /// # Errors
    /// A URL that is not `http://host[:port]`, or a host that does not resolve.
    pub async fn resolve(url: &str) -> Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("'{url}' is not a URL"))?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            bail!("'{url}' is not usable: write http://HOST:PORT without a path");
        }
        let authority = uri.authority().with_context(|| format!("'{url}' names no host"))?;
        // Brackets of an IPv6 literal belong to the URL, not to the address.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = tokio::net::lookup_host((host, authority.port_u16().unwrap_or(80)))
            .await
            .with_context(|| format!("cannot resolve '{host}'"))?
            .next()
            .with_context(|| format!("'{host}' has no address"))?;
        Ok(Self { address, authority: authority.as_str().to_owned() })
    }

    /// The URL of this server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_gives_address_and_host_header() {
        let target = Target::resolve("http://127.0.0.1:8080/").await.unwrap();
        assert_eq!(target, Target::from("127.0.0.1:8080".parse::<SocketAddr>().unwrap()));
        let target = Target::resolve("http://[::1]:81").await.unwrap();
        assert_eq!((target.address, target.authority.as_str()), ("[::1]:81".parse().unwrap(), "[::1]:81"));
    }

    #[tokio::test]
    async fn anything_but_a_bare_http_server_is_refused() {
        for bad in ["", "127.0.0.1:80", "https://127.0.0.1", "http://127.0.0.1/v2", "http://127.0.0.1/?a=1"] {
            assert!(Target::resolve(bad).await.is_err(), "{bad}");
        }
    }
}
