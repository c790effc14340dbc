//! The harness of the end-to-end tests: a fleet of the real binaries on loopback, and clients to try it with.
//!
//! [`Fleet`] writes configurations into a temporary folder, starts `weir-worker` and `weir-gateway`, waits until
//! they serve, and ends them by process id when it is dropped. Tests see what a user sees: addresses, answers, logs.
//! Never links gateway or worker; a binary is looked for in `WEIR_BIN_DIR`, else beside the running program.

pub mod client;
pub mod fault;
pub mod fleet;
pub mod foreign;
pub mod grpc;
pub mod infer;
pub mod metrics;
pub mod place;
pub mod port;
pub mod process;
pub mod raw;
mod reply;
pub mod repository;
pub mod stub;
pub mod wait;

pub use client::{Chunks, Client, Reply};
pub use fault::{Fault, FaultProxy};
pub use fleet::{Fleet, FleetBuilder, Gateway, GatewayToml, Worker, WorkerSpec};
pub use foreign::{ForeignServer, ForeignSpec};
pub use grpc::GrpcClient;
pub use place::workspace_root;
pub use repository::{Repository, Synthetic};
pub use stub::StubWorker;
pub use wait::eventually;
