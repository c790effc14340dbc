//! The queue of one model version alone, first come, first served. On its way out: lanes move to `device`.

mod batcher;
mod line;
mod ticket;

pub use batcher::{Batch, Batcher, Limits, Next, Turn};
pub use ticket::{Cause, Dropped, Refused, Ticket};
