//! docs/CONFIG.md lists every key, with the default that the reference states, and says truly which need a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weir_protocol::Bytes;

use super::{
    GATEWAY, KeyLine, MODEL, WORKER, gateway, key_lines, known_keys, model, uncommented, uncommented_model,
    worker,
};
use crate::{Problem, Problems, diff};

const DOCUMENT: &str = include_str!("../../../docs/CONFIG.md");

/// The least difference of two durations.
const NANOSECOND: Duration = Duration::from_nanos(1);

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

/// The lines of a reference by the dotted key of their table and key.
fn keyed_lines(text: &str) -> Vec<(String, KeyLine<'_>)> {
    let mut lines = key_lines(text).into_iter().peekable();
    let mut table = "";
    let mut keyed = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        } else if let Some(line) = lines.next_if(|next| next.index == index) {
            let key = if table.is_empty() { line.key.to_owned() } else { format!("{table}.{}", line.key) };
            keyed.push((key, line));
        }
    }
    keyed
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
        for (key, key_line) in keyed_lines(&text) {
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

/// Values at the ends of a range, and just outside it, as TOML.
struct Ends {
    inside: [String; 2],
    outside: Vec<String>,
}

/// Reads a range such as `1 to 10,000,000` or `0 B to 4 GiB, at most ..`; `None` for one in other words.
fn ends(range: &str, kind: &str) -> Option<Ends> {
    let (low, high) =
        range.split_once(" to ").filter(|(low, _)| low.starts_with(|c: char| c.is_ascii_digit()))?;
    let high = high.split(", ").next()?;
    let number = |text: &str| text.replace(',', "").parse::<i64>().unwrap();
    let duration = |text: &str| humantime::parse_duration(text).unwrap();
    let size = |text: &str| text.parse::<Bytes>().unwrap().0;
    let quoted = |text: &str| format!("\"{text}\"");
    let nanoseconds = |length: Duration| format!("\"{}ns\"", length.as_nanos());
    let (inside, outside) = match kind {
        "integer" | "number" => {
            let (low, high) = (number(low), number(high));
            ([low.to_string(), high.to_string()], [Some((low - 1).to_string()), Some((high + 1).to_string())])
        }
        "duration" => {
            let below = duration(low).checked_sub(NANOSECOND).map(nanoseconds);
            ([quoted(low), quoted(high)], [below, Some(nanoseconds(duration(high) + NANOSECOND))])
        }
        "size" => {
            let below = size(low).checked_sub(1).map(|bytes| format!("\"{bytes} B\""));
            ([quoted(low), quoted(high)], [below, Some(format!("\"{} B\"", size(high) + 1))])
        }
        _ => return None,
    };
    Some(Ends { inside, outside: outside.into_iter().flatten().collect() })
}

/// Checks the ranges of a file's tables; answers how many there are.
fn assert_ranges<T>(file: &str, text: &str, parse: fn(&str) -> Result<T, Problems>) -> usize {
    let rows = rows(file);
    let out_of_range = |text: String, key: &str| {
        let problems = parse(&text).err().map_or_else(Vec::new, |problems| problems.list);
        let at_key =
            |problem: &Problem| problem.key.ends_with(key) && problem.message.ends_with("out of range");
        problems.iter().any(at_key)
    };
    let mut checked = 0;
    for (key, line) in keyed_lines(text) {
        let Some(ends) = rows.get(&key).and_then(|cells| ends(cells[1], cells[0])) else { continue };
        let with = |value: &str| (line.with)(&format!("{} = {value}", line.key));
        for value in &ends.inside {
            assert!(!out_of_range(with(value), line.key), "{file}: {key} = {value} is refused");
        }
        for value in &ends.outside {
            assert!(out_of_range(with(value), line.key), "{file}: {key} = {value} is not refused");
        }
        checked += 1;
    }
    checked
}

#[test]
fn the_tables_tell_the_ranges_that_the_code_keeps() {
    assert_eq!(assert_ranges("gateway.toml", &uncommented(GATEWAY), gateway), 22);
    assert_eq!(assert_ranges("worker.toml", &uncommented(WORKER), worker), 12);
    assert_eq!(assert_ranges("model.toml", &uncommented_model(), model), 16);
}
