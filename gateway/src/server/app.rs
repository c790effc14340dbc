//! pingora's HTTP proxy without its habit of dropping quiet connections the moment the listeners close.
//!
//! A connection accepted last may be about to send its first request; dropped then, that request is lost. Here
//! every connection stays until the process has been idle for a moment ([`crate::shutdown`]) and ends with it.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    proxy::HttpProxy,
    server::ShutdownWatch,
};

use crate::proxy::Proxy;

/// The proxy as pingora's listening service runs it.
pub(super) struct App(pub(super) Arc<HttpProxy<Proxy>>);

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.0.process_new_http(session, shutdown).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    /// Nothing: pingora's own would end every connection that is between two requests, or before its first.
    async fn http_cleanup(&self) {}
}
