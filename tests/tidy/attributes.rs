//! What code may not contain: unwraps, more than a few expects, ignored tests, allowed lints.

use proc_macro2::TokenTree;

use crate::source::{Source, spelled};

/// Most `.expect(` per 1,000 lines of code, times ten.
const EXPECTS_PER_10_000: usize = 2;

/// `.unwrap()` outside test code.
pub(crate) fn unwraps(sources: &[Source]) -> Vec<String> {
    calls(sources, "unwrap")
}

/// Every `.expect(..)` outside test code, when there are more than the house takes.
pub(crate) fn expects(sources: &[Source]) -> Vec<String> {
    let found = calls(sources, "expect");
    let lines: usize = sources.iter().map(Source::code_lines).sum();
    if found.len() * 10_000 <= EXPECTS_PER_10_000 * lines { Vec::new() } else { found }
}

fn calls(sources: &[Source], method: &str) -> Vec<String> {
    let mut violations = Vec::new();
    // A bench that cannot go on may say so at once.
    for source in sources.iter().filter(|source| !source.path.contains("/benches/")) {
        let lines = source.find(&[".", method, "("]).into_iter().filter(|line| !source.tests_at(*line));
        violations.extend(lines.map(|line| format!("{}:{line} .{method}(", source.path)));
    }
    violations
}

/// `#[ignore]` and `#[allow(..)]`, in tests as well.
pub(crate) fn waivers(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        for run in source.token_runs() {
            for (index, token) in run.iter().enumerate() {
                // `#[..]` and `#![..]`
                let next = |offset: usize| run.get(index + offset).map(spelled);
                let group = match (spelled(token).as_str(), next(1).as_deref(), next(2).as_deref()) {
                    ("#", Some("["), _) => run.get(index + 1),
                    ("#", Some("!"), Some("[")) => run.get(index + 2),
                    _ => None,
                };
                if let Some(waiver) = group.and_then(waiver) {
                    violations.push(format!("{}:{} {waiver}", source.path, token.span().start().line));
                }
            }
        }
    }
    violations
}

/// The waiver that an attribute grants, directly or through `cfg_attr`.
fn waiver(attribute: &TokenTree) -> Option<String> {
    let TokenTree::Group(group) = attribute else { return None };
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    match tokens.first().map(spelled)?.as_str() {
        name @ ("ignore" | "allow") => Some(format!("#[{name}]")),
        "cfg_attr" => ["allow", "ignore"]
            .into_iter()
            .find(|name| {
                group.stream().to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == *name)
            })
            .map(|name| format!("#[cfg_attr(.., {name})]")),
        _ => None,
    }
}

#[test]
fn unwraps_count_outside_tests_only() {
    let text = "//! X.\nfn a() { b.unwrap(); }\n#[cfg(test)]\nmod tests { fn c() { d.unwrap(); } }\n";
    assert_eq!(unwraps(&[Source::parse("a/src/x.rs", text)]), ["a/src/x.rs:2 .unwrap("]);
    assert!(unwraps(&[Source::parse("tests/e2e/x.rs", text)]).is_empty());
}

#[test]
fn a_few_expects_are_taken_and_more_are_named() {
    let text = |lines| format!("//! X.\nfn a() {{ b.expect(\"c\"); }}\n{}", "fn d() {}\n".repeat(lines));
    assert!(expects(&[Source::parse("a/src/x.rs", &text(5_000))]).is_empty());
    assert_eq!(expects(&[Source::parse("a/src/x.rs", &text(4_000))]).len(), 1);
}

#[test]
fn every_form_of_waiver_is_seen() {
    let text = "#![allow(dead_code)]\n#[ignore]\nfn a() {}\n#[cfg_attr(test, allow(unused))]\nfn b() {}\n\
                #[expect(unused, reason = \"x\")]\nfn allow() {}\n#[ignore = \"slow\"]\nfn c() {}\n";
    let found = waivers(&[Source::parse("x.rs", text)]);
    let expected =
        ["x.rs:1 #[allow]", "x.rs:2 #[ignore]", "x.rs:4 #[cfg_attr(.., allow)]", "x.rs:8 #[ignore]"];
    assert_eq!(found, expected);
}
