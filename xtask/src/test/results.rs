//! Results read from what runners print.

use std::{fmt, process::ExitStatus};

/// How a runner tells its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// By its exit status alone: the runner is one test.
    ExitStatus,
    /// Rust's test harness, once for each test program: `test NAME ... ok`, `test result: ok. 3 passed; ...`.
    Libtest,
    /// `skipped: NAME` and `failed: NAME` lines, then `NAME: passed=3 failed=0 skipped=1`.
    Summary,
}

/// Counts, and the names of what did not pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    pub(super) failures: Vec<String>,
    pub(super) skips: Vec<String>,
}

impl Results {
    /// Takes in one line of output.
    pub(super) fn read(&mut self, format: Format, line: &str) {
        match format {
            Format::ExitStatus => {}
            Format::Libtest => self.read_libtest(line),
            Format::Summary => self.read_summary(line),
        }
    }

    /// Takes in the end of the runner. One that failed without a failed test, or had no results, counts as one
    /// failure: it did not compile, or crashed.
    pub(super) fn end(&mut self, format: Format, status: ExitStatus) {
        let nothing = self.passed + self.failed + self.skipped == 0;
        match (status.success(), format) {
            (true, Format::ExitStatus) => self.passed += 1,
            (true, _) if nothing => self.fail("no results".to_owned()),
            (false, _) if self.failed == 0 => self.fail(status.to_string()),
            _ => {}
        }
    }

    /// One test that this machine cannot run.
    pub(super) fn skip(&mut self, reason: String) {
        self.skipped += 1;
        self.skips.push(reason);
    }

    /// Adds the results of the runner `name`.
    pub(super) fn add(&mut self, name: &str, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures.into_iter().map(|test| format!("{name}: {test}")));
        self.skips.extend(other.skips.into_iter().map(|test| format!("{name}: {test}")));
    }

    fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.failures.push(reason);
    }

    fn read_libtest(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += number_before(counts, " passed");
            self.failed += number_before(counts, " failed");
            self.skipped += number_before(counts, " ignored");
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|test| test.split_once(" ... "))
        {
            match outcome.split_once(',').map_or(outcome, |(word, _)| word) {
                "FAILED" => self.failures.push(name.to_owned()),
                "ignored" => self.skips.push(name.to_owned()),
                _ => {}
            }
        }
    }

    fn read_summary(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("failed: ") {
            self.failures.push(name.to_owned());
        } else if let Some(name) = line.strip_prefix("skipped: ") {
            self.skips.push(name.to_owned());
        } else if let Some((_, counts)) = line.split_once(": passed=") {
            let mut numbers =
                counts.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
            self.passed += numbers.next().unwrap_or_default();
            self.failed += numbers.next().unwrap_or_default();
            self.skipped += numbers.next().unwrap_or_default();
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "passed={} failed={} skipped={}", self.passed, self.failed, self.skipped)
    }
}

/// The number that stands before `word`; 0 when there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn results(format: Format, output: &str, status: i32) -> Results {
        let mut results = Results::default();
        output.lines().for_each(|line| results.read(format, line));
        results.end(format, ExitStatus::from_raw(status << 8));
        results
    }

    #[test]
    fn a_check_is_one_test() {
        assert_eq!(results(Format::ExitStatus, "warning: x", 0).to_string(), "passed=1 failed=0 skipped=0");
        assert_eq!(results(Format::ExitStatus, "error: x", 1).to_string(), "passed=0 failed=1 skipped=0");
    }

    #[test]
    fn results_of_several_test_programs_add_up_and_are_named() {
        let output = "running 3 tests\n\
            test a::works ... ok\n\
            test a::breaks ... FAILED\n\
            test a::waits ... ignored, needs a GPU\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let results = results(Format::Libtest, output, 101);
        assert_eq!(results.to_string(), "passed=13 failed=1 skipped=1");
        assert_eq!((results.failures, results.skips), (vec!["a::breaks".into()], vec!["a::waits".into()]));
    }

    #[test]
    fn a_crash_and_a_runner_without_results_are_failures() {
        let ok = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(results(Format::Libtest, ok, 101).to_string(), "passed=2 failed=1 skipped=0");
        assert_eq!(results(Format::Libtest, "", 0).to_string(), "passed=0 failed=1 skipped=0");
    }

    #[test]
    fn a_summary_line_is_read_with_its_names() {
        let output = "skipped: infer: no package\nfailed: ready\nclients: passed=7 failed=1 skipped=1\n";
        let results = results(Format::Summary, output, 1);
        assert_eq!(results.to_string(), "passed=7 failed=1 skipped=1");
        assert_eq!(results.skips, ["infer: no package"]);
        assert_eq!(results.failures, ["ready"]);
    }
}
