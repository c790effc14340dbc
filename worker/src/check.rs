//! `weir-worker check`: tries every model version of a repository without serving any.
//!
//! Does what a worker does at start (read model.toml, load, warm up: compare rows alone and in company, time batches)
//! and prints what it found: a line per version and bucket.

use std::{fmt::Write, path::Path, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    backend::Host,
    model::{
        loader::{self, Beside, Loaded, Progress},
        repository::{self, FoundModel, FoundVersion},
        warmup::{ShapeCost, Step},
    },
};

/// How often the bar shows that time passes.
const TICK: Duration = Duration::from_millis(200);

/// What the columns before the last one hold; for a person who has read `weir-worker check --help`.
const TITLES: [&str; 10] = [
    "MODEL",
    "VERSION",
    "BUCKET",
    "MOST",
    "BASE MS",
    "ROW MS",
    "USEFUL",
    "ROWS/S AT 1",
    "AT MOST/2",
    "AT MOST",
];

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One line per version and bucket, for people.
    pub table: String,
    /// Whether everything can serve as model.toml says.
    pub good: bool,
}

/// A line of the table; empty cells where the line above says it.
struct Line {
    cells: [String; TITLES.len()],
    result: String,
}

/// Checks a repository as a device with so many lanes would run it. Blocks for as long as loading everything takes; at a
/// terminal a bar on stderr shows how far it is.
///
/// # Errors
/// The repository cannot be listed.
pub fn run(repository: &Path, host: &Host, lanes: u32) -> std::io::Result<Outcome> {
    let models = repository::scan(repository)?;
    let bar = progress_bar(models.iter().map(|model| model.versions.len()).sum());
    let (mut good, mut lines) = (true, Vec::new());
    for model in &models {
        if model.versions.is_empty() {
            good = false;
            lines.push(Line::new(model.name.as_str(), "-", "problem: no version folder".to_owned()));
        }
        for version in &model.versions {
            let loaded = load(model, version, (host, lanes), &bar);
            good &= matches!(&loaded, Ok(Loaded { warning: None, .. }));
            lines.extend(of_version(model, version, loaded));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(Outcome { table: table(&lines), good })
}

fn load(
    model: &FoundModel,
    version: &FoundVersion,
    (host, lanes): (&Host, u32),
    bar: &ProgressBar,
) -> Result<Loaded, String> {
    let name = format!("{} {}", model.name, version.version);
    bar.set_message(name.clone());
    loader::load(model, version, host, Beside::Nothing { lanes }, &mut |progress| {
        if let Progress::Step(Step { shapes_done, shapes, bucket, rows, is_timed }) = progress {
            let work = if is_timed { "timing" } else { "checking" };
            let bucket = bucket.map(|bucket| format!(", bucket {bucket} ({} of {shapes})", shapes_done + 1));
            bar.set_message(format!("{name}: {work} batches of {rows}{}", bucket.unwrap_or_default()));
        }
    })
}

/// A bar on the terminal; indicatif draws nothing when stderr is not one.
fn progress_bar(versions: usize) -> ProgressBar {
    let bar = ProgressBar::new(versions as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {msg}  [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(TICK);
    bar
}

/// The lines of one version, the first of which has the result.
fn of_version(model: &FoundModel, version: &FoundVersion, loaded: Result<Loaded, String>) -> Vec<Line> {
    let (result, shapes) = match loaded {
        Ok(Loaded { warning: None, shapes, .. }) => ("ok".to_owned(), shapes),
        Ok(Loaded { warning: Some(warning), shapes, .. }) => (format!("problem: {warning}"), shapes),
        Err(reason) => (format!("problem: {reason}"), Vec::new()),
    };
    let mut lines = vec![Line::new(model.name.as_str(), &version.version.to_string(), result)];
    lines.resize_with(shapes.len().max(1), || Line::new("", "", String::new()));
    lines.iter_mut().zip(&shapes).for_each(|(line, shape)| line.tell(shape));
    lines
}

impl Line {
    fn new(model: &str, version: &str, result: String) -> Self {
        let mut line = Self { cells: Default::default(), result };
        let [first, second, ..] = &mut line.cells;
        (*first, *second) = (model.to_owned(), version.to_owned());
        line
    }

    fn tell(&mut self, shape: &ShapeCost) {
        let most = shape.times.last().map_or(1, |(rows, _)| *rows);
        let millis = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
        let rate = |rows: u32| {
            let time = shape.times.iter().find(|(timed, _)| *timed == rows).map(|(_, time)| *time);
            // A size that was not timed is read off the line.
            let time = time.unwrap_or_else(|| shape.cost.of(rows)).max(Duration::from_micros(1));
            format!("{:.0}", f64::from(rows) / time.as_secs_f64())
        };
        let told = [
            shape.bucket.map_or_else(|| "-".to_owned(), |bucket| bucket.to_string()),
            most.to_string(),
            millis(shape.cost.base),
            millis(shape.cost.per_unit),
            shape.useful_rows.to_string(),
            rate(1),
            rate((most / 2).max(1)),
            rate(most),
        ];
        self.cells.iter_mut().skip(2).zip(told).for_each(|(cell, told)| *cell = told);
    }
}

fn table(lines: &[Line]) -> String {
    let width = |(at, title): (usize, &&str)| {
        let cells = lines.iter().filter_map(|line| line.cells.get(at)).map(String::len);
        cells.chain([title.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = TITLES.iter().enumerate().map(width).collect();
    let indent = widths.iter().map(|width| width + 2).sum::<usize>();
    let mut table = String::new();
    let mut write = |cells: &[&str], result: &str| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        // A reason of several lines (model.toml lists all its problems) stays in its column.
        line.push_str(&result.replace('\n', &format!("\n{}", " ".repeat(indent))));
        table.push_str(line.trim_end());
        table.push('\n');
    };
    write(&TITLES, "RESULT");
    for line in lines {
        write(&line.cells.iter().map(String::as_str).collect::<Vec<_>>(), &line.result);
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
        run(repository.path(), &host, 1).unwrap()
    }

    #[test]
    fn a_good_repository_is_a_line_of_ok_for_each_version() {
        let outcome = check(&Repository::new().with("a", ECHO, &[2, 10]).with("long-name", ECHO, &[1]));
        assert!(outcome.good);
        let lines: Vec<Vec<_>> =
            outcome.table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let costs = ["-", "4", "0.001", "0.001", "4", "1000000", "2000000", "4000000", "ok"];
        let line = |model, version| [&[model, version][..], &costs].concat();
        assert_eq!(lines, [line("a", "2"), line("a", "10"), line("long-name", "1")]);
    }

    #[test]
    fn a_bucket_is_a_line_and_costs_are_in_milliseconds() {
        let buckets = ECHO
            .replace("shape = [-1, 2]", "shape = [-1, -1]\npad_value = 0")
            .replacen("pad_value = 0", "", 2)
            .replacen("shape = [-1, -1]", "shape = [-1, -1]\npad_value = 0", 1)
            .replace("[synthetic]", "[batching]\nbuckets = [8, 1024]\n[synthetic]")
            .replace("base = \"0s\"", "base = \"8ms\"")
            .replace("per_item = \"0s\"", "per_item = \"1ms\"");
        let outcome = check(&Repository::new().with("m", &buckets, &[1]));
        let expected = "\
MODEL  VERSION  BUCKET  MOST  BASE MS  ROW MS  USEFUL  ROWS/S AT 1  AT MOST/2  AT MOST  RESULT
m      1        8       4     8.000    1.000   4       111          200        333      ok
                1024    4     8.000    1.000   4       111          200        333
";
        assert_eq!(outcome, Outcome { table: expected.to_owned(), good: true });
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
        let column = lines[0].find("RESULT").unwrap();
        let line = |at: usize| {
            let (cells, result) = lines[at].split_at(column);
            (cells.split_whitespace().take(2).collect::<Vec<_>>().join(" "), result)
        };
        let (broken, first) = line(1);
        assert!(broken == "broken 1" && first.starts_with("problem: ") && first.contains("model.toml:6:12"));
        // The second problem of the same file stands below the first.
        let (none, second) = line(2);
        assert!(none.is_empty() && second.contains("model.toml:10:12"), "{}", outcome.table);
        assert_eq!(line(3), ("empty -".to_owned(), "problem: no version folder"));
        let (gone, missing) = line(4);
        assert!(gone == "gone 3" && missing.starts_with("problem: 3/model.pt is missing"));
        assert_eq!(line(5), ("good 1".to_owned(), "ok"));
    }
}
