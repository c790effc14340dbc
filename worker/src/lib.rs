//! Weir's worker: serves TorchScript models over the Open Inference Protocol with dynamic batching.
//!
//! A request comes in through `http` or `grpc`, is decoded and checked by `infer`, waits in the queue of its model version
//! (`weir-batching`), runs on one of the device's lanes (`lanes`) through a `backend`, and goes out again. Start with
//! [`server::run`]. Libtorch appears in `backend::torch` only; time comes from [`clock`] only.

pub mod backend;
pub mod check;
pub mod clock;
pub mod control;
pub mod device;
mod grpc;
pub mod http;
pub mod infer;
pub mod lanes;
pub mod model;
pub mod report;
pub mod server;
pub mod shutdown;
pub mod statistics;
mod sync;
pub mod tasks;
pub mod telemetry;

#[cfg(test)]
mod tests;
