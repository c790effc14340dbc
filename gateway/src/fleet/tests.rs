//! The fleet as one server, against workers of which only what a test answers exists.
