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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Cpu,
        tests::fixture::{ECHO, Repository},
    };

    fn check(repository: &Repository) -> Outcome {
        let host = Host { cpu: Cpu::new(weir_protocol::Bytes::mib(1)), intra_op_threads: 1 };
        run(repository.path(), &host).unwrap()
    }

    #[test]
    fn a_good_repository_is_a_line_of_ok_for_each_version() {
        let outcome = check(&Repository::new().with("a", ECHO, &[2, 10]).with("long-name", ECHO, &[1]));
        let table = "MODEL      VERSION  RESULT\n\
                     a          2        ok\na          10       ok\nlong-name  1        ok\n";
        assert_eq!(outcome, Outcome { table: table.to_owned(), good: true });
    }

    #[test]
    fn each_problem_is_told_and_one_is_enough() {
        let broken = ECHO.replace("FP32", "FP99");
        let torch =
            ECHO.replace("backend = \"synthetic\"", "").split("[synthetic]").next().unwrap().to_owned();
        let repository = Repository::new()
            .with("broken", &broken, &[1])
            .with("empty", ECHO, &[])
            .with("gone", &torch, &[3])
            .with("good", ECHO, &[1]);
        let outcome = check(&repository);
        assert!(!outcome.good);
        let lines: Vec<_> = outcome.table.lines().collect();
        assert!(lines[1].starts_with("broken  1        problem: ") && lines[1].contains("model.toml:6:12"));
        // The second problem of the same file stands below the first.
        assert!(lines[2].starts_with("                 ") && lines[2].contains("model.toml:10:12"));
        assert_eq!(lines[3], "empty   -        problem: no version folder");
        assert!(lines[4].starts_with("gone    3        problem: 3/model.pt is missing"), "{}", outcome.table);
        assert_eq!(lines[5], "good    1        ok");
    }
}
