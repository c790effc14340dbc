//! The one schema of both binaries: `gateway.toml`, `worker.toml` and a model's `model.toml`.
//!
//! Text goes in, a checked configuration or *every* problem at once comes out, each with file, line, column, key
//! and what to write instead. Below this crate nothing is checked again. Files are read by the callers' loading
//! code through [`gateway::GatewayConfig::load`] and its siblings only. Knows nothing of sockets or runtimes.

pub mod diagnostic;
pub mod diff;
pub mod gateway;
pub mod model;
mod outside;
mod reader;
mod value;
pub mod worker;

pub use diagnostic::{Problem, Problems};
pub use diff::Changes;
pub use gateway::GatewayConfig;
pub use model::ModelConfig;
pub use worker::WorkerConfig;

#[cfg(test)]
mod tests;
