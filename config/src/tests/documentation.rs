//! docs/CONFIG.md lists every key, with the default that the reference states, and says truly which need a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GATEWAY, MODEL, WORKER, gateway, key_lines, known_keys, model, uncommented, uncommented_model, worker,
};
use crate::diff;

const DOCUMENT: &str = include_str!("../../../docs/CONFIG.md");

/// A row of a table: the cells after the key's.
type Rows<'t> = BTreeMap<String, Vec<&'t str>>;

/// The rows of a file's chapter by dotted key: `## gateway.toml`, `### [limits]`, then a table by key.
fn rows(file: &str) -> Rows<'static> {
    let chapter = DOCUMENT.split("\n## ").find(|chapter| chapter.starts_with(&format!("`{file}`")));
    let mut rows = Rows::new();
    let mut table = String::new();
    for line in chapter.unwrap_or_else(|| panic!("no chapter on {file}")).lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let name = heading.split('`').nth(1).unwrap_or_default();
            table = name.trim_matches(['[', ']']).to_owned();
        }
        let Some(row) = line.strip_prefix('|') else { continue };
        let mut cells = row.trim_end_matches('|').split('|').map(str::trim);
        if let Some(key) = cells.next().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) {
            let key = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            assert!(rows.insert(key, cells.collect()).is_none(), "two rows: {line}");
        }
    }
    rows
}

/// Keys of values: those whose name is not a mere table of other keys.
fn value_keys(known: &BTreeSet<String>) -> BTreeSet<&str> {
    let is_table = |key: &&str| known.iter().any(|other| other.starts_with(&format!("{key}.")));
    known.iter().map(String::as_str).filter(|key| !is_table(key)).collect()
}

#[test]
fn the_tables_list_exactly_the_keys_that_the_code_knows() {
    for (file, known) in [
        ("gateway.toml", known_keys(gateway, &uncommented(GATEWAY))),
        ("worker.toml", known_keys(worker, &uncommented(WORKER))),
        ("model.toml", known_keys(model, &uncommented_model())),
    ] {
        let rows = rows(file);
        let listed: BTreeSet<_> = rows.keys().map(String::as_str).collect();
        assert_eq!(listed, value_keys(&known), "{file}");
    }
}

#[test]
fn the_tables_tell_the_defaults_of_the_references() {
    for (file, text) in [
        ("gateway.toml", uncommented(GATEWAY)),
        ("worker.toml", uncommented(WORKER)),
        ("model.toml", uncommented(MODEL)),
    ] {
        let rows = rows(file);
        let mut table = "";
        let mut lines = key_lines(&text).into_iter();
        for line in text.lines() {
            if line.starts_with('[') {
                table = line.trim_matches(['[', ']']);
                continue;
            }
            if !line.contains(" = ") || line.starts_with('#') {
                continue;
            }
            let key_line = lines.next().unwrap();
            let key =
                if table.is_empty() { key_line.key.to_owned() } else { format!("{table}.{}", key_line.key) };
            let Some(cells) = rows.get(&key) else { continue };
            let told = match key_line.mark.split_once(' ') {
                None if key_line.mark == "default" => format!("`{}`", key_line.value),
                Some(("default", default)) => format!("`{default}`"),
                _ if key_line.mark.starts_with("required") => "required".to_owned(),
                _ => continue,
            };
            assert_eq!(cells[2], told, "{file}: {key}");
        }
    }
}

#[test]
fn the_gateway_tables_say_which_keys_need_a_restart() {
    let rows = rows("gateway.toml");
    let need: BTreeSet<_> =
        rows.iter().filter(|(_, cells)| cells[3] == "restart").map(|(key, _)| key.as_str()).collect();
    assert_eq!(need, diff::restart_keys().collect());
    assert!(rows.values().all(|cells| matches!(cells[3], "live" | "restart")), "{rows:?}");
}
