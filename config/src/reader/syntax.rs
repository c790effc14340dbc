//! Syntax errors as problems, beside those problems of the recovered tree that are still worth telling.
//!
//! The parser goes on after an error, so a file with an unquoted duration in line 3 and a typo in line 9 gets both
//! reported. What recovery guessed must not be reported: see [`merge`].

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue, Error};

use super::{Found, Lines, shown};

/// How the parser's messages begin when text stands without quotes: it takes `team` for a mistyped `true`.
const UNQUOTED: [&str; 3] = ["string values must be quoted", "invalid boolean", "invalid float"];

/// The text without the lines at which the parser stops, each as long as it was; `None` when it did not stop.
///
/// It goes on after every error but a key without `=`.
pub(super) fn without_stops(lines: &Lines<'_>, errors: &[Error]) -> Option<String> {
    let stops = errors.iter().filter(|error| error.message().starts_with("key with no value"));
    let stops: BTreeSet<_> = stops.filter_map(|error| Some(lines.line(error.span()?.start))).collect();
    (!stops.is_empty()).then(|| lines.blanked(&stops))
}

/// Syntax errors, at most one a line, and the problems of `found` that are no consequence of them.
///
/// Consequences are: anything missing; anything on a line that has a syntax error itself; anything after a bracket
/// that is never closed or after a broken table header, since what follows then belongs to something else.
pub(super) fn merge(
    lines: &Lines<'_>,
    tree: &DeTable<'_>,
    errors: &[Error],
    found: Vec<Found>,
) -> Vec<Found> {
    let mut errors: Vec<_> = errors.iter().map(|e| (e.span().map_or(0, |span| span.start), e)).collect();
    errors.sort_by_key(|(at, _)| *at);
    let unclosed = errors.iter().filter(|(_, e)| is_unclosed(e)).find_map(|(end, _)| opening(tree, *end));
    let mut by_line = BTreeMap::new();
    for (at, error) in errors {
        let problem = match unclosed {
            Some(open) if open <= at => unclosed_bracket(lines, open),
            _ => describe(lines, error, at),
        };
        by_line.entry(lines.line(problem.at)).or_insert(problem);
    }
    let is_header = |at: &usize| lines.line_text(*at).trim_start().starts_with('[');
    let broken_header = by_line.values().map(|f| f.at).find(is_header);
    let sound_up_to = broken_header.into_iter().chain(unclosed).min().unwrap_or(usize::MAX);
    let kept = |f: &Found| !f.absent && f.at < sound_up_to && !by_line.contains_key(&lines.line(f.at));
    let kept: Vec<_> = found.into_iter().filter(kept).collect();
    by_line.into_values().chain(kept).collect()
}

fn is_unclosed(error: &Error) -> bool {
    ["unclosed array", "unclosed inline table"].iter().any(|start| error.message().starts_with(start))
}

/// Offset of the outermost array or inline table that runs up to `end`.
fn opening(tree: &DeTable<'_>, end: usize) -> Option<usize> {
    tree.values().find_map(|value| match value.get_ref() {
        DeValue::Array(_) | DeValue::Table(_) if value.span().end == end => Some(value.span().start),
        DeValue::Array(items) => items.iter().find_map(|item| opening(item.get_ref().as_table()?, end)),
        DeValue::Table(table) => opening(table, end),
        _ => None,
    })
}

fn unclosed_bracket(lines: &Lines<'_>, at: usize) -> Found {
    let (open, close) = if lines.slice(at..at + 1) == "{" { ('{', '}') } else { ('[', ']') };
    problem(at, format!("`{open}` is never closed"), format!("add the `{close}`"))
}

fn describe(lines: &Lines<'_>, error: &Error, at: usize) -> Found {
    let span = error.span().unwrap_or_default();
    // The text itself is not repeated: it may be a secret that should not stand in the file at all.
    let (message, help) = match error.message() {
        message if message.starts_with("string values must be quoted") && span.is_empty() => {
            ("there is no value here".to_owned(), "write a value, or remove the key")
        }
        message if UNQUOTED.iter().any(|start| message.starts_with(start)) => {
            ("this is neither a number nor true or false".to_owned(), "put text in quotes")
        }
        message if message.contains("string, expected `") && span.is_empty() => {
            ("the text has no end".to_owned(), "add the closing quote")
        }
        "duplicate key" => {
            let key = shown(lines.slice(span));
            (format!("`{key}` is set twice"), "keep one of the two; each table of a list begins with [[..]]")
        }
        message => (message.to_owned(), "this is TOML: key = value, [table], [[element of a list]]"),
    };
    problem(at, message, help.to_owned())
}

fn problem(at: usize, message: String, help: String) -> Found {
    Found { at, absent: false, key: String::new(), message, help }
}
