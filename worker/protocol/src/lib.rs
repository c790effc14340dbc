//! The contract between gateway and worker, and the words both speak to clients.
//!
//! Owns ids, units, the Open Inference Protocol (OIP) v2 types with their JSON and binary codec, the REST
//! paths, the names of internal headers, and the load report. Knows nothing of sockets, runtimes, routing or
//! libtorch: everything here is data and pure functions. Used by every other crate.

pub mod codec;
pub mod datatype;
pub mod error;
pub mod grpc;
pub mod headers;
pub mod ids;
pub mod infer;
pub mod load;
pub mod metadata;
pub mod openapi;
pub mod priority;
pub mod rest;
pub mod route;
pub mod units;

pub use datatype::Datatype;
pub use error::{OipError, Reason, Refusal};
pub use ids::{Label, ModelName, Version, VersionRef, WorkerId};
pub use infer::{InferRequest, InferResponse, Tensor};
pub use load::{Lifecycle, LoadReport};
pub use priority::Priority;
pub use units::Bytes;
