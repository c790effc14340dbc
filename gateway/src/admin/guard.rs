//! Who may call the admin listener.
//!
//! Three walls: a bearer token where one is configured; a Host header that a web page cannot forge, because a page
//! whose name was rebound to this address (DNS rebinding) would send its own name; and a custom header on writes,
//! which a page of another origin can send only after asking, and is then told no. Health checks need no token.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq as _;
use weir_config::gateway::Secret;

use super::{Admin, AdminError};

/// Must be there, with the value `1`, on every call that is not a GET or HEAD.
const WRITE_HEADER: &str = "x-weir-admin";
/// Answered without a token: platforms that ask them have none.
const HEALTH_PATHS: [&str; 2] = ["/livez", "/readyz"];

/// Lets a call through or answers it here.
pub(super) async fn check(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match allowed(&admin, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn allowed(admin: &Admin, request: &Request) -> Result<(), AdminError> {
    let authority = request.uri().authority().cloned().or_else(|| host_header(request.headers()));
    check_host(authority.as_ref(), admin.token.is_some())?;
    let path = request.uri().path();
    if let Some(token) = admin.token.as_ref().filter(|_| !HEALTH_PATHS.contains(&path)) {
        check_token(request.headers(), token)?;
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let marked = request.headers().get(WRITE_HEADER).is_some_and(|value| value == "1");
    if reads || marked {
        Ok(())
    } else {
        Err(AdminError::Forbidden(format!(
            "a call that changes something needs the header '{WRITE_HEADER}: 1'"
        )))
    }
}

fn host_header(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(header::HOST)?.as_bytes()).ok()
}

/// Without a token only addresses and `localhost` are believed: no name server can make a page's name into one of
/// them. With a token any name will do, because a page does not have the token.
fn check_host(authority: Option<&Authority>, has_token: bool) -> Result<(), AdminError> {
    let forbidden = |what: String| {
        let help = "call by IP address or localhost, or set [admin] token";
        Err(AdminError::Forbidden(format!("{what}: {help}")))
    };
    let Some(authority) = authority else {
        return forbidden("the Host header is missing or malformed".to_owned());
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let literal = host.parse::<IpAddr>().is_ok();
    let local = host.eq_ignore_ascii_case("localhost");
    if literal || local || has_token {
        Ok(())
    } else {
        forbidden(format!("the Host '{}' is not trusted", host.escape_debug()))
    }
}

fn check_token(headers: &HeaderMap, token: &Secret) -> Result<(), AdminError> {
    let given =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // Constant time: how long a wrong guess takes must not say how much of it was right.
    let right = given.is_some_and(|given| bool::from(given.ct_eq(token.reveal().as_bytes())));
    if right { Ok(()) } else { Err(AdminError::Token) }
}
