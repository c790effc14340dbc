//! End-to-end tests: the real gateway in front of real workers on loopback, seen as a client and an operator see it.
//!
//! One program, so that it links once. Every test has a fleet of its own; loads stay modest (at most 300 requests a
//! second), because two run at a time on two cores with unoptimised binaries.

#[cfg(test)]
mod load;
#[cfg(test)]
mod smoke;
