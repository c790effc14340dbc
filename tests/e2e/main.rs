//! End-to-end tests: the real gateway in front of real workers on loopback, seen as a client and an operator see it.
//!
//! One program, so that it links once. Every test has a fleet of its own; loads stay modest (at most 300 requests a
//! second), because two run at a time on two cores with unoptimised binaries.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod disconnect;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod load;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod models;
#[cfg(test)]
mod names;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod repeat;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod unready;
