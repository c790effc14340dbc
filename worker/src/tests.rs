//! The worker as its clients and gateways see it: over TCP, from the listener to the answer.

#[cfg(feature = "torch")]
pub(crate) mod archive;
mod bad_input;
mod compression;
mod connections;
mod control;
mod datatypes;
pub(crate) mod fixture;
mod gateway_contract;
mod grpc;
mod metadata;
mod overload;
mod shapes;
mod stopping;
#[cfg(feature = "torch")]
mod torch_models;
mod urgency;
#[cfg(feature = "torch")]
mod warm_up;
