//! A table being read: knows which keys were asked for, so that the others can be called unknown.
//!
//! Also what every table of every file shares: the version at the top, and names that must not stand twice. Knows no
//! key but `version`; the reading code of each file passes them in.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use toml::de::{DeTable, DeValue};

use super::{Found, Item, Read, Report, Reported, join, shown};

/// Least likeness (Jaro-Winkler, 0 to 1) of two keys for one to be offered as what was meant for the other.
const LIKENESS: f64 = 0.8;

/// One table of the file; reads as empty when the file does not have it.
pub(crate) struct Table<'a> {
    entries: Option<&'a DeTable<'a>>,
    path: String,
    at: usize,
    report: &'a Report<'a>,
    asked: Vec<&'static str>,
    any_key: bool,
}

impl<'a> Table<'a> {
    /// Reads the root table.
    pub(super) fn root<T>(
        entries: &'a DeTable<'a>,
        report: &'a Report<'a>,
        read: impl FnOnce(&mut Table<'a>) -> Read<T>,
    ) -> Read<T> {
        Self::run(Some(entries), String::new(), 0, report, read)
    }

    /// Reads a table, then records the keys that were not asked for.
    pub(super) fn run<T>(
        entries: Option<&'a DeTable<'a>>,
        path: String,
        at: usize,
        report: &'a Report<'a>,
        read: impl FnOnce(&mut Table<'a>) -> Read<T>,
    ) -> Read<T> {
        let mut table = Table { entries, path, at, report, asked: Vec::new(), any_key: false };
        let value = read(&mut table);
        table.report_unknown();
        value
    }

    /// A key without a default: absent is a problem. `example` is what to add.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        kind: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Read<T> {
        match self.item(key) {
            Some(item) => kind(&item),
            None => Err(self.missing(key, format!("add {example}"))),
        }
    }

    /// A key that may be absent; `None` too when it is wrong, with the problem recorded.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        kind: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Option<T> {
        self.item(key).and_then(|item| kind(&item).ok())
    }

    /// A key with a default.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        kind: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> T {
        self.optional(key, kind).unwrap_or(default)
    }

    /// `[key]`, read as an empty table when absent.
    pub(crate) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'a>) -> Read<T>,
    ) -> Read<T> {
        match self.item(key) {
            Some(item) => item.table(&format!("write [{key}] on a line of its own, its keys below"), read),
            None => Self::run(None, join(&self.path, key), self.at, self.report, read),
        }
    }

    /// `[[key]]`: every element that could be read. `read` gets the table and its index from 0.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'a>, usize) -> Read<T>,
    ) -> Vec<T> {
        let help = format!("write [[{key}]] above the keys of each");
        let Some(item) = self.item(key) else { return Vec::new() };
        let Some(items) = item.elements() else {
            item.mismatch("an array of tables", help);
            return Vec::new();
        };
        let read = |(index, item): (usize, Item<'a>)| item.table(&help, |table| read(table, index)).ok();
        items.into_iter().enumerate().filter_map(read).collect()
    }

    /// `[[key]]` of which there must be at least one; `example` is what to add.
    pub(crate) fn required_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnMut(&mut Table<'a>, usize) -> Read<T>,
    ) -> Vec<T> {
        let elements = self.entries.and_then(|entries| entries.get(key)?.get_ref().as_array());
        if !self.has(key) || elements.is_some_and(|list| list.is_empty()) {
            self.missing(key, format!("add {example}"));
        }
        self.list(key, read)
    }

    /// Records a problem at a key's value, or at the table where the key is absent.
    pub(crate) fn wrong(&self, key: &'static str, message: String, help: String) -> Reported {
        self.place(key).wrong(message, help)
    }

    /// Where [`Self::wrong`] records a problem of this key, for one that only what is read later can show.
    pub(crate) fn place(&self, key: &'static str) -> Place<'a> {
        let at = self.value_offset(key).unwrap_or(self.at);
        Place { at, key: join(&self.path, key), report: self.report }
    }

    /// Records a problem of the table as a whole.
    pub(crate) fn wrong_here(&self, message: &str, help: &str) -> Reported {
        let (key, message, help) = (self.path.clone(), message.to_owned(), help.to_owned());
        self.report.add(Found { at: self.at, absent: false, key, message, help })
    }

    /// Records that a key is missing from this table.
    pub(crate) fn missing(&self, key: &'static str, help: String) -> Reported {
        let message = "missing".to_owned();
        self.report.add(Found { at: self.at, absent: true, key: join(&self.path, key), message, help })
    }

    /// Whether the file sets this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// Whether no other key of this table stands before this one.
    pub(crate) fn is_first(&self, key: &str) -> bool {
        let first = self.entries.and_then(|entries| entries.keys().min_by_key(|k| k.span().start));
        first.is_none_or(|first| first.get_ref() == key)
    }

    /// Gives up on this table: keys that were not asked for are not problems.
    pub(crate) fn ignore_the_rest(&mut self) {
        self.any_key = true;
    }

    /// Cores granted to this process.
    pub(crate) fn cores(&self) -> usize {
        self.report.outside.cores()
    }

    fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        let path = join(&self.path, key);
        #[cfg(test)]
        self.report.asked.borrow_mut().insert(super::tests::without_indices(&path));
        let value = self.entries?.get(key)?;
        Some(Item { value, path, report: self.report })
    }

    fn value_offset(&self, key: &str) -> Option<usize> {
        Some(self.entries?.get(key)?.span().start)
    }

    fn report_unknown(&self) {
        if self.any_key {
            return;
        }
        for (key, _) in self.entries.into_iter().flatten() {
            if self.asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            self.report.add(Found {
                at: key.span().start,
                absent: false,
                key: join(&self.path, key.get_ref()),
                message: format!("unknown key `{}`", shown(key.get_ref())),
                help: did_you_mean(key.get_ref(), &self.asked),
            });
        }
    }
}

/// A key of a table that may have been left already.
pub(crate) struct Place<'a> {
    at: usize,
    key: String,
    report: &'a Report<'a>,
}

impl Place<'_> {
    /// Records a problem here.
    pub(crate) fn wrong(self, message: String, help: String) -> Reported {
        self.report.add(Found { at: self.at, absent: false, key: self.key, message, help })
    }
}

/// The help for a word that is none of `known`.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let word = word.to_ascii_lowercase();
    let nearest = known
        .iter()
        .map(|k| (strsim::jaro_winkler(&word, k), k))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// `version = 1`, the first key of `gateway.toml` and `worker.toml`.
///
/// # Errors
/// Another version: nothing else of the file can then be judged, so this is the only problem.
pub(crate) fn version(root: &mut Table<'_>) -> Read<()> {
    let help = "begin the file with version = 1";
    let Some(item) = root.item("version") else {
        // The rest is read as version 1, so that its problems are told too.
        root.missing("version", help.to_owned());
        return Ok(());
    };
    match item.value() {
        DeValue::Integer(number) if number.as_str() == "1" => {}
        DeValue::Integer(number) => {
            root.ignore_the_rest();
            return Err(item.wrong(
                format!("version {} of the file format is not known", shown(number.as_str())),
                "write version = 1",
            ));
        }
        _ => {
            item.mismatch("an integer", help);
        }
    }
    if !root.is_first("version") {
        root.wrong("version", "this is not the first key".to_owned(), help.to_owned());
    }
    Ok(())
}

/// Finds values that occur twice in an array of tables, where they must not.
pub(crate) struct Unique {
    what: &'static str,
    lines: RefCell<HashMap<String, usize>>,
}

impl Unique {
    /// `what` as in "a worker named `a` stands already in line 3".
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, lines: RefCell::default() }
    }

    /// Records a problem at `key` when `value` was seen before.
    pub(crate) fn check(&self, table: &Table<'_>, key: &'static str, value: &str, help: &str) {
        let at = table.value_offset(key).unwrap_or(table.at);
        let line = table.report.lines.line(at);
        match self.lines.borrow_mut().entry(value.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(line);
            }
            Entry::Occupied(first) => {
                let message =
                    format!("{} `{}` stands already in line {}", self.what, shown(value), first.get());
                table.wrong(key, message, help.to_owned());
            }
        }
    }
}
