//! The REST surface as an OpenAPI 3.1 document: paths, bodies, headers and errors.
//!
//! Worker and gateway answer `GET /v2/openapi.json` with it. It is text, written by hand; the tests here hold it to
//! [`crate::rest::RestCall`] and [`crate::Reason`], the end-to-end tests hold real answers to its schemas.

#[cfg(test)]
mod tests;

/// The document, as JSON.
pub const DOCUMENT: &str = include_str!("openapi.json");
