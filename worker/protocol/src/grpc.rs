//! The gRPC form of the protocol: its messages, its methods by path, the statuses that errors become.
//!
//! The messages are made at build time from proto/inference.proto; those that REST answers too serialise to the same
//! JSON that Triton's clients read. Used by the worker's service and by the gateway, which answers some calls itself.

pub mod call;
pub mod named;
pub mod status;
pub mod timeout;

pub use self::{
    call::GrpcCall,
    messages::*,
    status::{GrpcCode, code_of},
};

/// The compiled inference.proto as a `google.protobuf.FileDescriptorSet`, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));

#[expect(
    missing_docs,
    clippy::all,
    reason = "generated; what the .proto says of a field is its documentation"
)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}
