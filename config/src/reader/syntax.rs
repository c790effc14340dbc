//! Syntax errors as problems, beside those problems of the recovered tree that are still worth telling.
//!
//! The parser goes on after an error, so a file with an unquoted duration in line 3 and a typo in line 9 gets both
//! reported. What recovery guessed must not be reported: see [`merge`].

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue, Error};

use super::{Found, Lines, shown};

/// Syntax errors, at most one a line, and the problems of `found` that are no consequence of them.
///
/// Consequences are: anything missing; anything on a line that has a syntax error itself; anything after a broken
/// table header, since its keys then belong to another table.
pub(super) fn merge(
    lines: &Lines<'_>,
    tree: &DeTable<'_>,
    errors: &[Error],
    found: Vec<Found>,
) -> Vec<Found> {
    let end = |error: &Error| error.span().map_or(0, |span| span.start);
    let unclosed = errors.iter().filter(|e| is_unclosed(e)).find_map(|e| opening(tree, end(e)));
    let mut by_line = BTreeMap::new();
    for error in errors {
        // What follows an opening bracket that is never closed was read as its contents.
        let at = unclosed.map_or(end(error), |open| end(error).min(open));
        let problem =
            if unclosed == Some(at) { unclosed_bracket(lines, at) } else { describe(lines, error, at) };
        by_line.entry(lines.line(at)).or_insert(problem);
    }
    let broken_header =
        by_line.values().map(|f| f.at).find(|at| lines.line_text(*at).trim_start().starts_with('['));
    let kept = |f: &Found| {
        !f.absent
            && !by_line.contains_key(&lines.line(f.at))
            && broken_header.is_none_or(|header| f.at < header)
    };
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
    let piece = shown(lines.slice(error.span().unwrap_or_default()));
    match error.message() {
        message if message.starts_with("string values must be quoted") && !piece.is_empty() => {
            problem(at, "text without quotes".to_owned(), format!("write \"{piece}\""))
        }
        message if message.starts_with("string values must be quoted") => {
            problem(at, "no value after `=`".to_owned(), "write a value, or remove the key".to_owned())
        }
        "duplicate key" => problem(
            at,
            format!("`{piece}` is set twice"),
            "keep one of the two, or write [[..]] for a list".to_owned(),
        ),
        message => problem(at, message.to_owned(), String::new()),
    }
}

fn problem(at: usize, message: String, help: String) -> Found {
    Found { at, absent: false, key: String::new(), message, help }
}
