//! Documents: every file they mention exists, and nothing names a path of one person's machine.

use std::collections::BTreeSet;

use crate::source::Tree;

/// Endings by which a word in backticks is taken for a file.
const ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".py", ".csv", ".json", ".txt", ".sh"];

/// Files that documents may mention though git does not track them: they are made or supplied.
const MADE: [&str; 5] = ["target/", ".libtorch/", ".tools/", "demo-run/", ".venv/"];

/// Paths in backticks, and targets of links, that are no tracked file or folder.
pub(crate) fn dead_paths(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (document, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        let base = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in outside_fences(text) {
            let named = in_backticks(line).filter(|word| looks_like_a_path(word, &tree.paths));
            for path in named.chain(link_targets(line)) {
                if !exists(path, base, &tree.paths) {
                    violations.push(format!("{document}:{} {path}", index + 1));
                }
            }
        }
    }
    violations
}

/// Documents that comments in code name, and that are no tracked file.
pub(crate) fn dead_citations(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let base = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in text.lines().enumerate() {
            let cited =
                comment(line).split(|c: char| !part_of_a_path(c)).map(|word| word.trim_end_matches('.'));
            let documents = cited.filter(|word| word.len() > ".md".len() && word.ends_with(".md"));
            violations.extend(
                documents
                    .filter(|word| !exists(word, base, &tree.paths))
                    .map(|word| format!("{path}:{} {word}", index + 1)),
            );
        }
    }
    violations
}

/// What a line of code says to people: all of it, or what stands after the code.
fn comment(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("//") { line } else { line.split_once(" // ").map_or("", |(_, said)| said) }
}

fn part_of_a_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-')
}

/// Tracked text files that name a home folder or a checkout's place.
pub(crate) fn local_paths(tree: &Tree) -> Vec<String> {
    // Put together here so that this file does not break its own rule.
    let needles = ["root", "home", "Users", "work"].map(|folder| format!("/{folder}/"));
    let mut violations = Vec::new();
    for (path, text) in &tree.texts {
        for (index, line) in text.lines().enumerate() {
            violations.extend(
                needles
                    .iter()
                    .filter(|needle| begins_a_path(line, needle))
                    .map(|needle| format!("{path}:{} {needle}", index + 1)),
            );
        }
    }
    violations
}

/// Whether `needle` occurs where a path begins: not after a letter, a dot or another folder.
fn begins_a_path(line: &str, needle: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | '*');
    line.match_indices(needle).any(|(at, _)| !line[..at].ends_with(inside))
}

/// Lines outside fenced blocks, numbered from 0.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn in_backticks(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    files.filter_map(|target| target.split('#').next())
}

fn looks_like_a_path(word: &str, paths: &BTreeSet<String>) -> bool {
    let plain = word.chars().all(part_of_a_path);
    let first = word.split('/').next().unwrap_or_default();
    let in_a_folder = word.contains('/') && paths.iter().any(|path| path.starts_with(&format!("{first}/")));
    let has_ending = ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending));
    let made = MADE.iter().any(|folder| word.starts_with(folder));
    plain && !word.starts_with('/') && !made && (in_a_folder || has_ending)
}

/// Whether a word names a tracked file or folder: from the root, from the document's folder, or by its last parts.
fn exists(word: &str, base: &str, paths: &BTreeSet<String>) -> bool {
    let word = word.trim_start_matches("./").trim_end_matches('/');
    let mut full: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in word.split('/') {
        if part == ".." {
            full.pop();
        } else {
            full.push(part);
        }
    }
    let from_base = full.join("/");
    let tail = format!("/{word}");
    let within =
        |path: &String, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    paths.iter().any(|path| {
        path == word
            || *path == from_base
            || path.ends_with(&tail)
            || within(path, word)
            || within(path, &from_base)
    })
}

#[cfg(test)]
fn tree(texts: &[(&str, &str)]) -> Tree {
    let texts: Vec<_> = texts.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    let paths = texts.iter().map(|(path, _)| path.clone()).collect();
    Tree { texts, paths }
}

#[test]
fn a_file_that_is_gone_is_named_with_its_line() {
    let text = "`gateway/src/proxy.rs` `proxy.rs` `gateway/src/` [a](../README.md#b) `application/json` `/v2/load`\n\
                `gateway/src/gone.rs`\n`gone.rs` and [x](GONE.md)\n```\n`gone.rs`\n```\n`target/debug/x.rs`\n";
    let tree = tree(&[("docs/A.md", text), ("README.md", ""), ("gateway/src/proxy.rs", "")]);
    let expected = ["docs/A.md:2 gateway/src/gone.rs", "docs/A.md:3 gone.rs", "docs/A.md:3 GONE.md"];
    assert_eq!(dead_paths(&tree), expected);
}

#[test]
fn a_document_that_is_gone_is_named_with_the_comment_that_cites_it() {
    // Put together here so that this file does not break its own rule.
    let slashes = "//";
    let text = format!(
        "{slashes}! See docs/A.md, GONE.md. `.md` files\nlet a = 1; {slashes} (docs/GONE.md#b), A.md\n\
         let b = \"NONE.md\";\n"
    );
    let tree = tree(&[("a/src/x.rs", &text), ("docs/A.md", "GONE.md")]);
    assert_eq!(dead_citations(&tree), ["a/src/x.rs:1 GONE.md", "a/src/x.rs:2 docs/GONE.md"]);
}

#[test]
fn a_path_of_one_machine_is_seen_where_a_path_begins() {
    let local = ["", "root", "x"].join("/");
    let text = format!("cd {local}\nsee crates{local}\n");
    assert_eq!(local_paths(&tree(&[("a.sh", &text)])).len(), 1);
}
