//! Studies in virtual time: the code that decides in production, driven by simulated clients and devices.
//!
//! `agenda` is the clock, `seeds` the repetitions, `check` a figure held against its limit, `table` how figures are
//! shown. `batching` is the study of one device: it runs `weir_batching` itself, beside rules of other servers.
//! A minute of simulated load takes a fraction of a second, and the same seed always gives the same figures.

pub mod agenda;
pub mod batching;
pub mod check;
pub mod seeds;
pub mod table;

pub use agenda::Agenda;
pub use check::{Check, Side};
pub use seeds::Seeds;
