//! Where libraries and the outside world may be touched: pingora, libtorch, metric macros, environment, files.

use syn::{UseTree, visit::Visit};

use crate::source::Source;

/// Files that may read the environment or the disk: loading of configuration, reload, the worker's main and model
/// repository, and programs that only build, load or measure.
const READERS: [&str; 14] = [
    "config/src/outside.rs",
    "config/src/reader.rs",
    "config/src/value/secret.rs",
    "gateway/benches/",
    "gateway/src/reload.rs",
    "loadtest/src/run.rs",
    "loadtest/src/study.rs",
    "worker/benches/",
    "worker/build.rs",
    "worker/examples/",
    "worker/protocol/build.rs",
    "worker/src/main.rs",
    "worker/src/model/repository.rs",
    "xtask/",
];

/// A library and the places that may name it.
const HOMES: [(&str, &[&str]); 5] = [
    ("pingora", &["gateway/src/", "gateway/benches/"]),
    (
        "tch",
        &["worker/src/backend/torch.rs", "worker/src/backend/torch/", "worker/benches/", "worker/examples/"],
    ),
    ("torch_sys", &["worker/src/backend/torch.rs", "worker/src/backend/torch/", "worker/benches/"]),
    ("std::env", &READERS),
    ("std::fs", &READERS),
];

const METRIC_MACROS: [&str; 6] =
    ["counter", "gauge", "histogram", "describe_counter", "describe_gauge", "describe_histogram"];

/// Every use of something outside its home; test code may use what it tests with.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let lived = |home: &&str| source.path.starts_with(*home);
        for (path, homes) in HOMES {
            if homes.iter().any(lived) {
                continue;
            }
            let lines = uses(source, path).into_iter().filter(|line| !source.tests_at(*line));
            violations.extend(lines.map(|line| format!("{}:{line} {path}", source.path)));
        }
        if !source.path.contains("telemetry") {
            for name in METRIC_MACROS {
                let lines = source.find(&[name, "!", "("]).into_iter().filter(|line| !source.tests_at(*line));
                violations.extend(lines.map(|line| format!("{}:{line} {name}!", source.path)));
            }
        }
    }
    violations
}

/// Lines where a path is imported or spelled out.
fn uses(source: &Source, path: &str) -> Vec<usize> {
    let mut pattern: Vec<&str> = path.split("::").flat_map(|part| [part, ":", ":"]).collect();
    let mut lines = source.find(&pattern);
    // `use std::env;` ends without another `::`, and `use std::{env, fs}` splits the path.
    pattern.truncate(pattern.len() - 2);
    let mut imports = Imports { lines: Vec::new(), wanted: path };
    imports.visit_file(&source.syntax);
    lines.append(&mut imports.lines);
    lines.sort_unstable();
    lines.dedup();
    lines
}

struct Imports<'a> {
    wanted: &'a str,
    lines: Vec<usize>,
}

impl Imports<'_> {
    fn note(&mut self, prefix: &str, tree: &UseTree) {
        let joined = |name: &syn::Ident| {
            if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") }
        };
        let (path, line) = match tree {
            UseTree::Path(part) => {
                let path = joined(&part.ident);
                if path == self.wanted {
                    return self.lines.push(part.ident.span().start().line);
                }
                return self.note(&path, &part.tree);
            }
            UseTree::Group(group) => return group.items.iter().for_each(|item| self.note(prefix, item)),
            UseTree::Name(name) => (joined(&name.ident), name.ident.span().start().line),
            UseTree::Rename(name) => (joined(&name.ident), name.ident.span().start().line),
            UseTree::Glob(_) => return,
        };
        // `use std::fs::{self}`
        if path.trim_end_matches("::self") == self.wanted {
            self.lines.push(line);
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note("", &item.tree);
    }
}

#[test]
fn every_way_to_reach_a_library_is_seen() {
    for text in [
        "use std::fs;",
        "use std::{collections::BTreeMap, fs};",
        "use std::fs::{self, File};",
        "use std::fs::File;",
        "use std::fs as disk;",
        "fn a() { std::fs::read(\"x\"); }",
        "fn a() { b!(std::fs::read(\"x\")); }",
    ] {
        assert_eq!(
            violations(&[Source::parse("gateway/src/proxy.rs", text)]),
            ["gateway/src/proxy.rs:1 std::fs"],
            "{text}"
        );
        assert!(violations(&[Source::parse("gateway/src/reload.rs", text)]).is_empty(), "{text}");
        assert!(violations(&[Source::parse("gateway/src/proxy/tests.rs", text)]).is_empty(), "{text}");
    }
}

#[test]
fn libraries_stay_at_home() {
    let found = |path, text| !violations(&[Source::parse(path, text)]).is_empty();
    assert!(
        found("worker/src/infer.rs", "use tch::Tensor;")
            && !found("worker/src/backend/torch.rs", "use tch::Tensor;")
    );
    assert!(
        found("worker/src/http.rs", "use pingora::proxy;")
            && !found("gateway/src/proxy.rs", "use pingora::proxy;")
    );
    assert!(found("gateway/src/proxy.rs", "fn a() { metrics::counter!(\"x\"); }"));
    assert!(!found("gateway/src/telemetry/names.rs", "fn a() { metrics::counter!(\"x\"); }"));
}
