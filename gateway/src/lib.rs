//! Weir's gateway as a library: everything but the command line.

pub mod telemetry;
