//! The reader on its own, and what tests of reading code share: the keys it asked for, how to look at problems.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Debug,
    fs::{self, File},
    path::Path,
};

use super::{MAX_FILE_BYTES, did_you_mean, read, text_of};
use crate::{
    Problems,
    tests::fake::Fake,
    value::{flag, integer, list},
};

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

/// Reads a file of two keys, a table and a list: enough to see what the reader itself does.
fn read_small(text: &str) -> Result<(), Problems> {
    read(text, Path::new("small.toml"), &Fake, |root| {
        root.or("count", 1, integer::<u32>(1..=9));
        root.or("numbers", Vec::new(), |item| list(item, 0, "[1]", integer::<u32>(1..=9)));
        root.section("table", |table| Ok(table.or("flag", false, flag)))?;
        root.list("item", |table, _| table.required("flag", "flag = true", flag));
        Ok(())
    })
}

#[test]
fn a_syntax_error_has_a_place_and_hides_no_other_mistake() {
    for (text, expected) in [
        (
            "count = nine\nnumber = 1",
            &["1:9  ~ put text in quotes", "2:1 number ~ did you mean `numbers`?"][..],
        ),
        ("count = team", &["1:9  ~ put text in quotes"]),
        ("count = 127.0.0.1:80", &["1:14  ~ put text in quotes"]),
        ("count = 250ms", &["1:9  ~ put text in quotes"]),
        ("numbers = ['1", &["1:11  ~ add the `]`"]),
        ("count =\nnumber = 1", &["1:8  ~ write a value", "2:1 number ~ did you mean `numbers`?"]),
        ("count == 1\nnumber = 1", &["1:8  ~ key = value", "2:1 number ~ did you mean `numbers`?"]),
        ("count 1\nnumber = 1", &["1:7  ~ key = value", "2:1 number ~ did you mean `numbers`?"]),
        ("numbers = \"1\ncount = 0", &["1:13  ~ add the closing quote", "2:9 count ~ from 1 to 9"]),
        (
            "count = 1\ncount = 2\nnumbers = [0]",
            &["2:1  ~ keep one of the two", "3:12 numbers[0] ~ from 1 to 9"],
        ),
        (
            "count = 0\n[table]\nflag = 1\n[table]\nflag = 1",
            &[
                "1:9 count ~ from 1 to 9",
                "3:8 table.flag ~ true or false",
                "4:2  ~ keep one of the two",
                "5:1  ~ keep one of the two",
            ],
        ),
        ("count = 01", &["1:9  ~ key = value"]),
    ] {
        assert_problems(read_small(text), text, expected);
    }
}

#[test]
fn what_recovery_from_a_syntax_error_guessed_is_not_told() {
    for (text, expected) in [
        // The header is broken: `flag` is no key of `item`, and the item has not lost its `flag`.
        ("[[item]\nflag = 1\nflog = 2", &["1:8  ~ key = value"][..]),
        ("[[item]]\nflag true", &["2:6  ~ key = value"]),
        // All that follows was read as part of the list.
        (
            "count = 0\nnumbers = [1,\n2\n[table]\nflag = 1",
            &["1:9 count ~ from 1 to 9", "2:11  ~ add the `]`"],
        ),
        ("item = [{ flag = true, \ncount = 0", &["1:8  ~ add the `]`"]),
        ("count =", &["1:8  ~ write a value"]),
    ] {
        assert_problems(read_small(text), text, expected);
    }
}

#[test]
fn a_syntax_error_does_not_repeat_text_that_may_be_a_secret() {
    let problems = read_small("token = hunter2\nnumbers = [hunter2").unwrap_err();
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
}

#[test]
fn long_and_odd_keys_are_shown_shortened_and_escaped() {
    let key = format!("\"\\u0007{}\"", "x".repeat(100));
    let problems = read_small(&format!("{key} = 1")).unwrap_err().list;
    assert_eq!(problems[0].key, format!("\"\\u{{7}}{}…\"", "x".repeat(63)));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    let places = |problems: Problems| problems.list.iter().map(|p| (p.line, p.column)).collect::<Vec<_>>();
    assert_eq!(places(text_of(&file).unwrap_err()), [(1, 1)]);
    assert_eq!(places(text_of(folder.path()).unwrap_err()), [(1, 1)]);
    fs::write(&file, b"a = 1\n\xc3\xbc = \"\xff\"").unwrap();
    assert_eq!(places(text_of(&file).unwrap_err()), [(2, 6)]);
    File::create(&file).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert_eq!(places(text_of(&file).unwrap_err()), [(1, 1)]);
    File::create(&file).unwrap().set_len(MAX_FILE_BYTES).unwrap();
    assert_eq!(text_of(&file).unwrap().len() as u64, MAX_FILE_BYTES);
}

#[test]
fn a_likely_key_is_offered_and_an_unlikely_one_is_not() {
    let known = ["listen", "threads", "drain_timeout"];
    for (word, help) in [
        ("thread", "did you mean `threads`?"),
        ("Listen", "did you mean `listen`?"),
        ("drian_timeout", "did you mean `drain_timeout`?"),
        ("drain-timeout", "did you mean `drain_timeout`?"),
        ("port", "known here: listen, threads, drain_timeout"),
        ("", "known here: listen, threads, drain_timeout"),
    ] {
        assert_eq!(did_you_mean(word, &known), help);
    }
}
