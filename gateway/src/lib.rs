//! Weir's gateway as a library: everything but the command line.
//!
//! A request enters through the proxy, which reads one snapshot of the [`registry`]; probes and reload change the
//! registry through its one writer; the admin listener shows and steers all of it. [`server`] puts them together.

pub mod admin;
pub mod fleet;
pub mod outbound;
pub mod probe;
pub mod proxy;
pub mod registry;
pub mod reload;
pub mod server;
pub mod shutdown;
pub mod task;
pub mod telemetry;

#[cfg(test)]
mod tests;
