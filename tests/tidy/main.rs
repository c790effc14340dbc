//! The house rules as tests, over every file that git tracks.
//!
//! Each rule is a function from sources to violations, so that it can be tried on a text that breaks it; each test
//! prints all violations of its rule at once. The rules themselves are explained in docs/ARCHITECTURE.md; the ones
//! that a compiler lint can express live in the workspace's Cargo.toml instead.

#[cfg(test)]
mod attributes;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod source;
#[cfg(test)]
mod words;

#[cfg(test)]
use source::Tree;

/// Fails with every violation on a line of its own.
#[cfg(test)]
#[track_caller]
fn none(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}\n  {}\n", violations.join("\n  "));
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    none(
        "begin with //! (what this file decides or owns, what it must not know)",
        lines::without_opening(&Tree::load().sources()),
    );
}

#[test]
fn files_stay_short() {
    none("split by noun", lines::long_files(&Tree::load().sources()));
}

#[test]
fn functions_stay_short() {
    none("say it in smaller steps", lines::long_functions(&Tree::load().sources()));
}

#[test]
fn nothing_on_a_request_path_unwraps() {
    none("answer an error instead", attributes::unwraps(&Tree::load().sources()));
}

#[test]
fn expectations_are_rare() {
    none("answer an error instead", attributes::expects(&Tree::load().sources()));
}

#[test]
fn no_test_is_ignored_and_no_lint_is_allowed() {
    none(
        "mend it; if truly needed, #[expect(lint, reason = \"..\")]",
        attributes::waivers(&Tree::load().sources()),
    );
}

#[test]
fn modules_are_named_files_and_names_say_something() {
    none("find the noun", words::empty_words(&Tree::load().sources()));
}

#[test]
fn crates_depend_in_one_direction_and_share_the_lints() {
    none("see the code map in docs/ARCHITECTURE.md", manifests::violations(&Tree::load().manifests()));
}

#[test]
fn pingora_torch_metrics_environment_and_files_stay_where_they_belong() {
    none("move the call behind the module that owns it", imports::violations(&Tree::load().sources()));
}

#[test]
fn documents_mention_only_files_that_exist() {
    none("correct the document", documents::dead_paths(&Tree::load()));
}

#[test]
fn nothing_names_a_path_of_somebodys_machine() {
    none("make it relative", documents::local_paths(&Tree::load()));
}
