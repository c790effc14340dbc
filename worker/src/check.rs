//! `weir-worker check`: tries every model version of a repository without serving any.
//!
//! Does what a worker does at start (read model.toml, load, warm up, compare batch 1 with the largest batch) and prints
//! one line per version.

use std::{fmt::Write, path::Path};

use crate::{
    backend::Host,
    model::{loader, repository},
};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One line per version, for people.
    pub table: String,
    /// Whether everything can serve as model.toml says.
    pub good: bool,
}

struct Line {
    model: String,
    version: String,
    result: String,
}

/// Checks a repository. Blocks for as long as loading everything takes.
///
/// # Errors
/// The repository cannot be listed.
pub fn run(repository: &Path, host: &Host) -> std::io::Result<Outcome> {
    let mut good = true;
    let mut lines = Vec::new();
    for model in repository::scan(repository)? {
        if model.versions.is_empty() {
            good = false;
            let result = "problem: no version folder".to_owned();
            lines.push(Line { model: model.name.to_string(), version: "-".to_owned(), result });
        }
        for version in &model.versions {
            let result = match loader::load(&model, version, host, || ()) {
                Ok(loaded) if loaded.warning.is_none() => "ok".to_owned(),
                Ok(loaded) => {
                    good = false;
                    format!("problem: {}", loaded.warning.unwrap_or_default())
                }
                Err(reason) => {
                    good = false;
                    format!("problem: {reason}")
                }
            };
            lines.push(Line { model: model.name.to_string(), version: version.version.to_string(), result });
        }
    }
    Ok(Outcome { table: table(&lines), good })
}

fn table(lines: &[Line]) -> String {
    let width = |text: fn(&Line) -> &str, title: &str| {
        lines.iter().map(|line| text(line).len()).chain([title.len()]).max().unwrap_or(0)
    };
    let (model, version) = (width(|l| &l.model, "MODEL"), width(|l| &l.version, "VERSION"));
    let mut table = format!("{:<model$}  {:<version$}  RESULT\n", "MODEL", "VERSION");
    for line in lines {
        // A reason of several lines (model.toml lists all its problems) stays in its column.
        let result = line.result.replace('\n', &format!("\n{}", " ".repeat(model + version + 4)));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:<model$}  {:<version$}  {result}", line.model, line.version);
    }
    table
}
