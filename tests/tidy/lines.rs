//! Lengths: of files and of functions, each with its median and tail, and the opening of files.

use syn::{spanned::Spanned, visit::Visit};

use crate::source::Source;

/// A bound on a percentile of a length, in lines.
struct Bound {
    percent: usize,
    lines: usize,
}

const FILES: [Bound; 3] = [
    Bound { percent: 50, lines: 160 },
    Bound { percent: 90, lines: 350 },
    Bound { percent: 100, lines: 500 },
];
const FUNCTIONS: [Bound; 3] =
    [Bound { percent: 90, lines: 30 }, Bound { percent: 99, lines: 60 }, Bound { percent: 100, lines: 70 }];

/// Files whose first line is not `//!`.
pub(crate) fn without_opening(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path.clone())
        .collect()
}

/// Bounds on the lines of files, test code left out.
pub(crate) fn long_files(sources: &[Source]) -> Vec<String> {
    let code = sources.iter().filter(|source| !source.is_test());
    beyond(&FILES, code.map(|source| (source.code_lines(), source.path.clone())).collect())
}

/// Bounds on the lines of functions from signature to closing brace, test code left out.
pub(crate) fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut lengths = Vec::new();
    for source in sources {
        let mut functions = Functions { source, lengths: Vec::new() };
        functions.visit_file(&source.syntax);
        lengths.append(&mut functions.lengths);
    }
    beyond(&FUNCTIONS, lengths)
}

/// What exceeds a bound, the longest first.
fn beyond(bounds: &[Bound], mut lengths: Vec<(usize, String)>) -> Vec<String> {
    lengths.sort();
    let mut violations = Vec::new();
    for bound in bounds {
        // Nearest rank: the smallest length that `percent` of all do not exceed.
        let rank = (lengths.len() * bound.percent).div_ceil(100);
        let Some((lines, _)) = rank.checked_sub(1).and_then(|index| lengths.get(index)) else { continue };
        if *lines <= bound.lines {
            continue;
        }
        violations
            .push(format!("{} % are within {lines} lines, the bound is {}:", bound.percent, bound.lines));
        let over = lengths.iter().rev().take_while(|(length, _)| *length > bound.lines);
        violations.extend(over.map(|(length, what)| format!("    {length} lines: {what}")));
    }
    violations
}

struct Functions<'a> {
    source: &'a Source,
    lengths: Vec<(usize, String)>,
}

impl Functions<'_> {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        if !self.source.tests_at(first) {
            self.lengths
                .push((last - first + 1, format!("{}:{first} {}", self.source.path, signature.ident)));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn a_file_and_a_function_beyond_the_bound_are_named() {
    let long = format!("//! X.\nfn f() {{\n{}}}\n", "    g();\n".repeat(500));
    let sources = [Source::parse("a/src/x.rs", &long), Source::parse("a/src/tests.rs", &long)];
    assert!(long_files(&sources).iter().any(|v| v.contains("503 lines: a/src/x.rs")));
    assert!(long_functions(&sources).iter().any(|v| v.contains("502 lines: a/src/x.rs:2 f")));
    assert!(!long_files(&sources).concat().contains("tests.rs"));
    assert!(long_files(&[Source::parse("a/src/y.rs", "//! Y.\n")]).is_empty());
    assert_eq!(without_opening(&[Source::parse("z.rs", "// Z.\n")]), ["z.rs"]);
}

#[test]
fn percentiles_bind_as_well_as_the_maximum() {
    let lengths = |long| (0..10).map(|n| (if n < long { 200 } else { 10 }, format!("f{n}"))).collect();
    assert!(beyond(&FILES, lengths(5)).is_empty());
    assert!(!beyond(&FILES, lengths(6)).is_empty(), "the median is 200");
}
