//! What reader tests share: the keys that reading code asked for.

use std::{cell::RefCell, collections::BTreeSet};

thread_local! {
    static ASKED: RefCell<BTreeSet<String>> = RefCell::default();
}

/// Keeps the keys of the last file read on this thread.
pub(super) fn note_asked(keys: BTreeSet<String>) {
    ASKED.set(keys);
}

/// The keys that the last read on this thread asked for, with `[]` for every index: `worker[].url`.
pub(crate) fn asked() -> BTreeSet<String> {
    ASKED.with_borrow(Clone::clone)
}

/// `worker[3].url` as `worker[].url`.
pub(super) fn without_indices(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside || *c == '['
    };
    path.chars().filter(keep).collect()
}
