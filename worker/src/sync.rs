//! The locks under the lanes' hand-over.
//!
//! A module of its own so that `tests/handover` can put a model checker's locks in their place. Everything else
//! uses its library's directly.

pub(crate) use parking_lot::{Condvar, Mutex};
