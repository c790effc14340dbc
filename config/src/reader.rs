//! Reads a TOML tree into checked types and collects *every* problem on the way, each with its position.
//!
//! The reading code of each file asks a [`Table`] for its keys; a key that nobody asked for is a typo. Knows TOML
//! and positions, not what any key means: kinds of values live in `value`, the keys in `gateway/read.rs` and its
//! siblings. [`read`] is the way in.

mod lines;
mod syntax;
mod table;

use std::{borrow::Cow, cell::RefCell, fs::File, io::Read as _, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(crate) use table::{Place, Table, Unique, did_you_mean, version};

use crate::{Problem, Problems, outside::Outside};
use lines::Lines;

/// Longest piece of the file that a message repeats, in characters.
const SHOWN_CHARS: usize = 64;

/// Largest file that is read, in bytes: 20 times what 10,000 workers need.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Proof that a problem was recorded: what failing reading code returns. Only [`Report`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported(());

/// What reading a value gives; the problem itself is in the report.
pub(crate) type Read<T> = Result<T, Reported>;

/// Reads a whole file: `read` gets the root table.
///
/// # Errors
/// Every problem, in order of position.
pub(crate) fn read<T>(
    text: &str,
    file: &Path,
    outside: &dyn Outside,
    read: impl FnOnce(&mut Table<'_>) -> Read<T>,
) -> Result<T, Problems> {
    let lines = Lines::of(text);
    let (mut tree, mut errors) = DeTable::parse_recoverable(text);
    let mended = syntax::without_stops(&lines, &errors);
    if let Some(mended) = &mended {
        let (whole, more) = DeTable::parse_recoverable(mended);
        tree = whole;
        errors.extend(more);
    }
    let report = Report {
        lines,
        folder: file.parent().unwrap_or(Path::new("")),
        outside,
        found: RefCell::default(),
        #[cfg(test)]
        asked: RefCell::default(),
    };
    let value = Table::root(tree.get_ref(), &report, read);
    #[cfg(test)]
    tests::note_asked(report.asked.take());
    let mut found = report.found.take();
    if !errors.is_empty() {
        found = syntax::merge(&report.lines, tree.get_ref(), &errors, found);
    }
    match value {
        Ok(value) if found.is_empty() => Ok(value),
        _ => Err(report.problems(found, file)),
    }
}

/// The text of a configuration file.
///
/// # Errors
/// One problem: the file cannot be read, is not UTF-8, or is larger than 16 MiB.
pub(crate) fn text_of(file: &Path) -> Result<String, Problems> {
    let problem = |line, column, message: String, help: &str| Problems {
        file: file.to_owned(),
        list: vec![Problem { line, column, key: String::new(), message, help: help.to_owned() }],
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = opened {
        return Err(problem(1, 1, format!("cannot read the file: {error}"), ""));
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem(1, 1, format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20), ""));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let (line, column) = Lines::of(&String::from_utf8_lossy(error.as_bytes())).position(good);
        problem(line, column, "this is not UTF-8".to_owned(), "save the file as UTF-8")
    })
}

/// What all reading of one file shares: where problems go, and the world around the file.
pub(crate) struct Report<'a> {
    lines: Lines<'a>,
    folder: &'a Path,
    outside: &'a dyn Outside,
    found: RefCell<Vec<Found>>,
    /// Every key that reading code asked for, to be held against references and documentation.
    #[cfg(test)]
    asked: RefCell<std::collections::BTreeSet<String>>,
}

/// A problem that still carries its offset.
struct Found {
    at: usize,
    /// Something is not there, rather than there and wrong.
    absent: bool,
    key: String,
    message: String,
    help: String,
}

impl Report<'_> {
    fn add(&self, found: Found) -> Reported {
        self.found.borrow_mut().push(found);
        Reported(())
    }

    fn problems(&self, mut found: Vec<Found>, file: &Path) -> Problems {
        found.sort_by_key(|f| f.at);
        let problem = |Found { at, key, message, help, .. }| {
            let (line, column) = self.lines.position(at);
            Problem { line, column, key, message, help }
        };
        Problems { file: file.to_owned(), list: found.into_iter().map(problem).collect() }
    }
}

/// One value of the file, and its name.
pub(crate) struct Item<'a> {
    value: &'a Spanned<DeValue<'a>>,
    path: String,
    report: &'a Report<'a>,
}

impl<'a> Item<'a> {
    /// Records a problem at this value.
    pub(crate) fn wrong(&self, message: impl Into<String>, help: impl Into<String>) -> Reported {
        self.report.add(Found {
            at: self.value.span().start,
            // Recovery from a syntax error puts a value without a place where there is none.
            absent: self.value.span() == (0..0),
            key: self.path.clone(),
            message: message.into(),
            help: help.into(),
        })
    }

    /// Records that the value has the wrong type: `wanted` as in "expected a duration".
    pub(crate) fn mismatch(&self, wanted: &str, help: impl Into<String>) -> Reported {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("expected {wanted}, found {found}"), help)
    }

    /// The bare TOML value.
    pub(crate) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// The value as text, or the problem that it is none.
    pub(crate) fn text(&self, wanted: &str, help: &str) -> Read<&'a str> {
        match self.value() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.mismatch(wanted, help)),
        }
    }

    /// Reads the value as a table; every key that `read` does not ask for is a problem.
    pub(crate) fn table<T>(&self, help: &str, read: impl FnOnce(&mut Table<'a>) -> Read<T>) -> Read<T> {
        match self.value() {
            DeValue::Table(entries) => {
                Table::run(Some(entries), self.path.clone(), self.value.span().start, self.report, read)
            }
            _ => Err(self.mismatch("a table", help)),
        }
    }

    /// The elements of an array; `None` when the value is none.
    pub(crate) fn elements(&self) -> Option<Vec<Item<'a>>> {
        let DeValue::Array(array) = self.value() else { return None };
        let item =
            |(index, value)| Item { value, path: format!("{}[{index}]", self.path), report: self.report };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// The entries of a table whose keys are free, such as labels, by key; `None` when the value is no table.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let DeValue::Table(entries) = self.value() else { return None };
        let item = |(key, value): (&'a Spanned<Cow<'a, str>>, _)| {
            let path = join(&self.path, key.get_ref());
            (key.get_ref().as_ref(), Item { value, path, report: self.report })
        };
        Some(entries.iter().map(item).collect())
    }

    /// The machine around the file.
    pub(crate) fn outside(&self) -> &'a dyn Outside {
        self.report.outside
    }

    /// The folder that relative paths start at.
    pub(crate) fn folder(&self) -> &'a Path {
        self.report.folder
    }
}

/// Dotted path of a key below `path`, quoted where TOML would want it.
fn join(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let plain = (1..=SHOWN_CHARS).contains(&key.len()) && key.bytes().all(bare);
    let key = if plain { Cow::Borrowed(key) } else { format!("\"{}\"", shown(key)).into() };
    if path.is_empty() { key.into_owned() } else { [path, &key].join(".") }
}

/// Text of the file, fit to be repeated in a message: shortened, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
pub(crate) mod tests;
