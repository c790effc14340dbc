//! Which requests run together, in which order, and which are turned away: the queues of one device.
//!
//! Owns admission, order, batch choice, turns among models and the quote. Pure: no clock, runtime, I/O or randomness.
//! Time is a [`Duration`] since the process's start, passed in by the caller; what a request carries is a type
//! parameter. The worker's lanes call [`Device::next`] when they are free; its front calls [`Device::admit`].
//! Simulations run the same code.
//!
//! [`Duration`]: std::time::Duration

mod arrivals;
mod cost;
mod costs;
mod device;
mod forecast;
mod queue;
pub mod quote;
mod settings;
mod ticket;
mod turns;
mod useful;
mod window;

pub use arrivals::Arrivals;
pub use cost::BatchCost;
pub use costs::Costs;
pub use device::{Batch, BatchId, Device, Ended, Next, QueueId, QueueView, Turn};
pub use quote::Quote;
pub use settings::{DeviceSettings, QueueSettings, TurnOrder};
pub use ticket::{Cancel, Cause, Dropped, Refused, ShapeKey, Ticket};
pub use useful::useful_rows;
