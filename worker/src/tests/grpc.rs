//! The gRPC front as clients and gateways see it: real messages over a real socket.

mod calls;
mod client;
mod inference;
mod limits;
mod streams;
