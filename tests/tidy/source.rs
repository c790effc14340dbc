//! What the rules look at: the tracked files, parsed once, with their test code told apart.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use proc_macro2::{Group, TokenStream, TokenTree};
use syn::{Attribute, spanned::Spanned, visit::Visit};

/// Every tracked file.
pub(crate) struct Tree {
    /// Every text file as (path, text).
    pub(crate) texts: Vec<(String, String)>,
    /// Every path.
    pub(crate) paths: BTreeSet<String>,
}

/// One Rust file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
    /// Lines of items under `#[cfg(test)]`, first and last, from 1.
    test_lines: Vec<(usize, usize)>,
    /// Files without their ending that are modules under `#[cfg(test)]`.
    test_modules: Vec<String>,
    /// Whether the whole file is test code.
    test_file: bool,
}

/// A file whose module is declared under `#[cfg(test)]` is test code, and so is everything below it.
fn mark_test_files(mut sources: Vec<Source>) -> Vec<Source> {
    let modules: Vec<String> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in &mut sources {
        let below = |module: &String| {
            source
                .path
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.test_file |= modules.iter().any(below);
    }
    sources
}

impl Tree {
    /// Reads the working tree; a tracked file that is gone from the disk is left out.
    pub(crate) fn load() -> Self {
        let root = weir_tests::workspace_root();
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output().unwrap();
        assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).unwrap();
        let paths: BTreeSet<String> =
            listed.split_terminator('\0').filter(|p| root.join(p).is_file()).map(str::to_owned).collect();
        let texts: Vec<_> =
            paths.iter().filter_map(|path| Some((path.clone(), text(&root, path)?))).collect();
        Self { texts, paths }
    }

    /// The Rust files, parsed.
    pub(crate) fn sources(&self) -> Vec<Source> {
        mark_test_files(self.ending(".rs").map(|(path, text)| Source::parse(path, text)).collect())
    }

    /// `Cargo.toml` files as (path, text).
    pub(crate) fn manifests(&self) -> Vec<(String, String)> {
        self.ending("Cargo.toml").cloned().collect()
    }

    fn ending(&self, ending: &'static str) -> impl Iterator<Item = &(String, String)> {
        self.texts.iter().filter(move |(path, _)| path.ends_with(ending))
    }
}

/// The text of a file, or nothing for a binary one.
fn text(root: &Path, path: &str) -> Option<String> {
    String::from_utf8(fs::read(root.join(path)).unwrap()).ok().filter(|text| !text.contains('\0'))
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|e| panic!("{path} is not Rust: {e}"));
        let mut tests = TestItems::default();
        tests.visit_file(&syntax);
        // Modules of a crate's root stand beside it, those of other files below them.
        let stem = path.trim_end_matches(".rs");
        let root = ["lib", "main"].iter().find_map(|name| stem.strip_suffix(name)?.strip_suffix('/'));
        let folder = root.unwrap_or(stem);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            syntax,
            test_lines: tests.lines,
            test_modules: tests.modules.iter().map(|name| format!("{folder}/{name}")).collect(),
            // `tests.rs`, and anything in a `tests` folder, the tests crate included.
            test_file: stem.split('/').any(|part| part == "tests"),
        }
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.test_file
    }

    /// Whether a line is test code.
    pub(crate) fn tests_at(&self, line: usize) -> bool {
        self.is_test() || self.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Lines outside test code; 0 for a test file.
    pub(crate) fn code_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.tests_at(*line)).count()
    }

    /// Every run of tokens on one level, groups and macro bodies included, with test code.
    pub(crate) fn token_runs(&self) -> Vec<Vec<TokenTree>> {
        let tokens: TokenStream = self.text.parse().unwrap();
        let mut runs = Vec::new();
        collect_runs(tokens, &mut runs);
        runs
    }

    /// The lines where `pattern` occurs as consecutive tokens, a group standing as its opening bracket.
    pub(crate) fn find(&self, pattern: &[&str]) -> Vec<usize> {
        let mut found = Vec::new();
        for run in self.token_runs() {
            for window in run.windows(pattern.len()) {
                if window.iter().zip(pattern).all(|(token, wanted)| spelled(token) == *wanted) {
                    found.push(window[0].span().start().line);
                }
            }
        }
        found.sort_unstable();
        found
    }
}

/// How a token is written; a group is its opening bracket.
pub(crate) fn spelled(token: &TokenTree) -> String {
    match token {
        TokenTree::Group(group) => opening(group).to_owned(),
        token => token.to_string(),
    }
}

fn opening(group: &Group) -> &'static str {
    match group.delimiter() {
        proc_macro2::Delimiter::Parenthesis => "(",
        proc_macro2::Delimiter::Brace => "{",
        proc_macro2::Delimiter::Bracket => "[",
        proc_macro2::Delimiter::None => "",
    }
}

fn collect_runs(tokens: TokenStream, runs: &mut Vec<Vec<TokenTree>>) {
    let run: Vec<TokenTree> = tokens.into_iter().collect();
    for token in &run {
        if let TokenTree::Group(group) = token {
            collect_runs(group.stream(), runs);
        }
    }
    runs.push(run);
}

/// Items under `#[cfg(test)]` or `#[test]`.
#[derive(Default)]
struct TestItems {
    /// Their first and last lines.
    lines: Vec<(usize, usize)>,
    /// Names of those that are modules in a file of their own.
    modules: Vec<String>,
}

impl TestItems {
    fn note(&mut self, attributes: &[Attribute], item: &impl Spanned) {
        if attributes.iter().any(is_test_attribute) {
            self.lines.push((item.span().start().line, item.span().end().line));
        }
    }
}

fn is_test_attribute(attribute: &Attribute) -> bool {
    let path = attribute.path();
    let cfg_test = || attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
    path.segments.last().is_some_and(|last| last.ident == "test") || (path.is_ident("cfg") && cfg_test())
}

impl<'ast> Visit<'ast> for TestItems {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.note(&item.attrs, item);
        if item.content.is_none() && item.attrs.iter().any(is_test_attribute) {
            self.modules.push(item.ident.to_string());
        }
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.attrs, item);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.note(&item.attrs, item);
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.attrs, item);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note(&item.attrs, item);
    }
}

#[test]
fn test_code_is_told_apart() {
    let text = "//! X.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
    let source = Source::parse("a/src/x.rs", text);
    assert_eq!((1..=7).filter(|line| source.tests_at(*line)).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(source.code_lines(), 3);
    assert!(
        Source::parse("a/src/x/tests.rs", text).is_test() && Source::parse("tests/src/x.rs", text).is_test()
    );
}

#[test]
fn a_module_that_is_declared_for_tests_is_test_code_with_all_below_it() {
    let paths = [
        "a/src/lib.rs",
        "a/src/fixture.rs",
        "a/src/fixture/part.rs",
        "a/src/pool.rs",
        "a/src/pool/fixture.rs",
    ];
    let text =
        |path: &str| if path.ends_with("lib.rs") { "#[cfg(test)]\nmod fixture;\nmod pool;" } else { "" };
    let sources = mark_test_files(paths.iter().map(|path| Source::parse(path, text(path))).collect());
    let tests: Vec<_> =
        sources.iter().filter(|source| source.is_test()).map(|source| source.path.as_str()).collect();
    assert_eq!(tests, ["a/src/fixture.rs", "a/src/fixture/part.rs"]);
    assert_eq!(Source::parse("a/src/pool.rs", "#[cfg(test)]\nmod x;").test_modules, ["a/src/pool/x"]);
}

#[test]
fn tokens_are_found_in_macro_bodies_and_never_in_text() {
    let source = Source::parse(
        "x.rs",
        "fn a() {\n    // .unwrap()\n    f(\".unwrap()\");\n    println!(\"{}\", b.unwrap());\n}",
    );
    assert_eq!(source.find(&[".", "unwrap", "("]), [4]);
}
