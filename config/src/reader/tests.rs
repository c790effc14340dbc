//! What tests of reading code share: the keys it asked for, and how to look at problems.

use std::{cell::RefCell, collections::BTreeSet, fmt::Debug};

use crate::Problems;

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

/// Checks the problems of a bad file. Each expectation is `line:column key ~ help`, where `help` is part of what the
/// problem tells to write instead; they must be exactly the problems, in their order.
#[track_caller]
pub(crate) fn assert_problems<T: Debug>(result: Result<T, Problems>, text: &str, expected: &[&str]) {
    let problems = result.expect_err(text).list;
    let told: Vec<_> = problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.key)).collect();
    let wanted: Vec<_> = expected.iter().map(|e| e.split_once(" ~ ").unwrap()).collect();
    assert_eq!(
        told,
        wanted.iter().map(|(place, _)| place.to_string()).collect::<Vec<_>>(),
        "{text}\n{problems:#?}"
    );
    for (problem, (_, help)) in problems.iter().zip(wanted) {
        assert!(problem.help.contains(help), "{help:?} is not in {problem:?} of\n{text}");
        assert!(!problem.message.is_empty() && !problem.message.ends_with('.'), "{problem:?}");
    }
}
