//! Holds the reference files and docs/CONFIG.md against the code: they know the same keys and tell the same defaults.
//!
//! In a reference every line of a key ends in a mark: `# default` (removing the line changes nothing), `# default X`
//! (removing it is writing X), `# required` or `# optional`. A line that begins with `#` and no space is an example.

mod documentation;
pub(crate) mod fake;
mod mutations;

use std::{collections::BTreeSet, fmt::Debug, path::Path};

use crate::{
    GatewayConfig, ModelConfig, Problems, WorkerConfig, reader,
    tests::fake::{FOLDER, Fake},
};

const GATEWAY: &str = include_str!("../gateway.toml");
const WORKER: &str = include_str!("../worker.toml");
const MODEL: &str = include_str!("../model.toml");

fn gateway(text: &str) -> Result<GatewayConfig, Problems> {
    GatewayConfig::parse_in(text, &Path::new(FOLDER).join("gateway.toml"), &Fake)
}

fn worker(text: &str) -> Result<WorkerConfig, Problems> {
    WorkerConfig::parse_in(text, &Path::new(FOLDER).join("worker.toml"), &Fake)
}

fn model(text: &str) -> Result<ModelConfig, Problems> {
    ModelConfig::parse_in(text, &Path::new(FOLDER).join("model.toml"), &Fake)
}

/// The reference with its examples as part of it.
fn uncommented(text: &str) -> String {
    let example = |line: &&str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
    };
    let lines = text.lines().map(|line| if example(&line) { &line[1..] } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The model reference as one of a synthetic model, since only those read `[synthetic]`; its `backend` has no mark.
fn uncommented_model() -> String {
    uncommented(MODEL).replace("backend = \"torch\" # default", "backend='synthetic'")
}

/// The keys that reading code asks for, without indices: `worker.url`.
fn known_keys<T: Debug>(parse: fn(&str) -> Result<T, Problems>, text: &str) -> BTreeSet<String> {
    parse(text).unwrap();
    reader::tests::asked().into_iter().map(|key| key.replace("[]", "")).collect()
}

/// A line `key = value # mark` of a reference.
struct KeyLine<'t> {
    /// Counted from 0.
    index: usize,
    key: &'t str,
    value: &'t str,
    mark: &'t str,
    /// The whole text with this line replaced.
    with: Box<dyn Fn(&str) -> String + 't>,
}

fn key_lines(text: &str) -> Vec<KeyLine<'_>> {
    let key_line = |(index, line)| -> Option<KeyLine<'_>> {
        let (key, rest) = str::split_once(line, " = ")?;
        if key.starts_with('#') || key.contains(' ') {
            return None;
        }
        let (value, mark) = rest.rsplit_once(" # ").unwrap_or_else(|| panic!("no mark: {line}"));
        let with = move |new: &str| {
            let lines = text.lines().enumerate().map(|(i, old)| if i == index { new } else { old });
            lines.map(|line| format!("{line}\n")).collect()
        };
        Some(KeyLine { index, key, value, mark, with: Box::new(with) })
    };
    text.lines().enumerate().filter_map(key_line).collect()
}

/// Checks the mark of every key: what it says about the file without the line is true.
fn assert_marks<T: Debug + PartialEq>(parse: fn(&str) -> Result<T, Problems>, text: &str) {
    let whole = parse(text).unwrap();
    for line in key_lines(text) {
        let without = parse(&(line.with)(""));
        match line.mark.split([' ', ';', ',']).next() {
            Some("default") => {
                let default = line.mark.strip_prefix("default ").unwrap_or(line.value);
                let stated = parse(&(line.with)(&format!("{} = {default}", line.key)));
                // Another key may need more than the default: then both are the same mistake.
                assert_eq!(without, stated, "{} = {} # {}", line.key, line.value, line.mark);
                if default == line.value {
                    assert_eq!(stated.unwrap(), whole, "{}", line.key);
                }
            }
            Some("required") => {
                let problems = without.unwrap_err().list;
                let missing = |p: &crate::Problem| p.message == "missing" && p.key.ends_with(line.key);
                assert!(problems.iter().any(missing), "{} is not required: {problems:?}", line.key);
            }
            Some("optional") => assert_ne!(without.unwrap(), whole, "{} makes no difference", line.key),
            _ => panic!("unknown mark: {} # {}", line.key, line.mark),
        }
    }
}

#[test]
fn the_references_are_read_without_a_problem() {
    assert_eq!(gateway(GATEWAY).unwrap().workers.len(), 2);
    assert_eq!(worker(WORKER).unwrap().worker.name.as_str(), "worker-1");
    assert_eq!(model(MODEL).unwrap().max_batch_size, 32);
}

#[test]
fn the_references_are_read_from_disk_as_they_lie_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    GatewayConfig::load(&folder.join("gateway.toml")).unwrap();
    let worker = WorkerConfig::load(&folder.join("worker.toml")).unwrap();
    ModelConfig::load(&folder.join("model.toml")).unwrap();
    assert!(worker.worker.repository.starts_with(folder));
}

#[test]
fn every_mark_of_a_reference_tells_what_holds_without_the_line() {
    assert_marks(gateway, &uncommented(GATEWAY));
    assert_marks(worker, &uncommented(WORKER));
    assert_marks(model, MODEL);
    assert_marks(model, &uncommented_model());
}

#[test]
fn every_key_that_the_code_knows_stands_in_its_reference() {
    let assert_complete = |known: BTreeSet<String>, text: &str| {
        let present = keys_of(text);
        let absent: Vec<_> = known.difference(&present).collect();
        assert!(absent.is_empty(), "not in the reference: {absent:?}");
        assert!(!known.is_empty());
    };
    let text = uncommented(GATEWAY);
    assert_complete(known_keys(gateway, &text), &text);
    let text = uncommented(WORKER);
    assert_complete(known_keys(worker, &text), &text);
    let text = uncommented_model();
    assert_complete(known_keys(model, &text), &text);
}

/// Dotted paths of all keys and tables of a text.
fn keys_of(text: &str) -> BTreeSet<String> {
    fn walk(value: &toml::Value, path: &str, keys: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(value, &path, keys);
                    keys.insert(path);
                }
            }
            toml::Value::Array(items) => items.iter().for_each(|item| walk(item, path, keys)),
            _ => {}
        }
    }
    let mut keys = BTreeSet::new();
    walk(&toml::Value::Table(text.parse().unwrap()), "", &mut keys);
    keys
}
