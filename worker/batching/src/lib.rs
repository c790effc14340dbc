//! Which requests run together, and which are turned away: the queue of one model version.
//!
//! Owns admission, order and batch choice. Pure: no clock, runtime, I/O or randomness. Time is a [`Duration`]
//! since the process's start, passed in by the caller; what a request carries is a type parameter. The worker's
//! lanes call [`Batcher::next`] when they are free; its front calls [`Batcher::admit`]. Simulations run the same code.
//!
//! [`Duration`]: std::time::Duration

mod batcher;
mod line;
mod ticket;

pub use batcher::{Batch, Batcher, Limits, Next, Turn};
pub use ticket::{Cancel, Cause, Dropped, Refused, ShapeKey, Ticket};
