//! What each crate may depend on, and that all share the workspace's lints.

use toml::{Table, Value};

/// Crates of this workspace that a crate may name, in any kind of dependency.
const MAY_NAME: [(&str, &[&str]); 9] = [
    ("weir-protocol", &[]),
    ("weir-config", &["weir-protocol"]),
    ("weir-routing", &["weir-protocol"]),
    ("weir-batching", &["weir-protocol"]),
    ("weir-gateway", &["weir-protocol", "weir-config", "weir-routing"]),
    ("weir-worker", &["weir-protocol", "weir-config", "weir-batching"]),
    ("weir-loadtest", &["weir-protocol", "weir-config", "weir-routing", "weir-batching"]),
    // Starts the binaries and never links them.
    ("weir-tests", &["weir-protocol", "weir-config", "weir-loadtest"]),
    // Builds everything, so it must build before everything.
    ("xtask", &[]),
];

/// Crates that decide and do nothing else: no clock, runtime, library of the servers or metrics.
const PURE: [&str; 2] = ["weir-routing", "weir-batching"];
const IMPURE: [&str; 9] =
    ["pingora", "tokio", "async", "axum", "hyper", "tch", "torch", "metrics", "tracing"];

/// Who may depend on a library that has one home.
const HOMES: [(&str, &str); 3] =
    [("pingora", "weir-gateway"), ("tch", "weir-worker"), ("torch", "weir-worker")];

/// Every violation of the dependency rules, over (path, text) of all manifests.
pub(crate) fn violations(manifests: &[(String, String)]) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in manifests {
        let manifest: Table = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
        let Some(name) = manifest.get("package").and_then(|p| p.get("name")).and_then(Value::as_str) else {
            continue;
        };
        let found = dependencies(&manifest);
        violations.extend(direction(name, &found).into_iter().map(|v| format!("{path}: {name} {v}")));
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(Value::as_bool) != Some(true) {
            violations.push(format!("{path}: no [lints] workspace = true"));
        }
    }
    violations
}

fn direction(name: &str, dependencies: &[String]) -> Vec<String> {
    let Some((_, may_name)) = MAY_NAME.iter().find(|(known, _)| *known == name) else {
        return vec!["is not in the table of tests/tidy/manifests.rs: say what it may depend on".to_owned()];
    };
    let begins = |dependency: &str, word: &str| dependency.split(['-', '_']).next() == Some(word);
    let mut violations = Vec::new();
    for dependency in dependencies {
        let ours = MAY_NAME.iter().any(|(known, _)| known == dependency);
        let impure = PURE.contains(&name) && IMPURE.iter().any(|word| begins(dependency, word));
        let abroad = HOMES.iter().any(|(word, home)| begins(dependency, word) && *home != name);
        if (ours && !may_name.contains(&dependency.as_str())) || impure || abroad {
            violations.push(format!("may not depend on {dependency}"));
        }
    }
    violations
}

/// Names of all dependencies: normal, of tests and of build scripts, for every target.
fn dependencies(manifest: &Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let sections = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    sections.flat_map(Table::keys).cloned().collect()
}

#[test]
fn a_dependency_against_the_direction_is_named() {
    let manifest = |name: &str, dependency: &str| {
        let text = format!(
            "[package]\nname = '{name}'\n[lints]\nworkspace = true\n[dependencies]\n{dependency} = '1'\n"
        );
        violations(&[("x/Cargo.toml".to_owned(), text)])
    };
    for (name, dependency) in [
        ("weir-gateway", "weir-worker"),
        ("weir-config", "weir-routing"),
        ("weir-routing", "tokio-util"),
        ("weir-batching", "metrics"),
        ("weir-tests", "weir-gateway"),
        ("weir-worker", "pingora"),
        ("weir-gateway", "tch"),
    ] {
        let expected = format!("x/Cargo.toml: {name} may not depend on {dependency}");
        assert_eq!(manifest(name, dependency), [expected]);
    }
    assert!(manifest("weir-gateway", "weir-routing").is_empty());
    assert_eq!(manifest("weir-new", "serde").len(), 1, "a crate that no rule names");
}

#[test]
fn lints_and_every_kind_of_dependency_are_seen() {
    let text = "[package]\nname = 'weir-routing'\n[target.'cfg(unix)'.dependencies]\nweir-config = '1'\n\
                [dev-dependencies]\nweir-worker = '1'\n";
    let found = violations(&[("Cargo.toml".to_owned(), text.to_owned())]);
    assert_eq!(found.len(), 3, "{found:?}");
}
