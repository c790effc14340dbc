//! Load against a gateway or a worker, as a library: the engine behind `weir-loadtest`.
//!
//! A [`Plan`] says what to send, where and when; [`Run::start`] carries it out and [`Run::finish`] gives the
//! [`Report`]. The load is open-loop: requests are due at times that do not depend on answers, and latency counts
//! from the time a request was *due*, so a server that stalls cannot hide it (no coordinated omission).
//! End-to-end tests and benches use the same engine. Knows the wire protocol, nothing of gateway or worker.

pub mod answer;
pub mod arrivals;
pub mod connection;
pub mod engine;
pub mod input;
pub mod metadata;
pub mod payload;
pub mod report;
pub mod samples;
pub mod simulate;
pub mod tally;
pub mod target;

pub use arrivals::{Process, Schedule};
pub use engine::{Plan, Run};
pub use input::InputSpec;
pub use payload::{Call, Encoding, Payload};
pub use report::Report;
pub use samples::Samples;
pub use target::Target;
