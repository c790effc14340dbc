//! The kinds of values a configuration has: numbers with a range, durations, sizes, words, lists.
//!
//! Each function reads one [`Item`] or records what is wrong with it and what to write instead. What has to do with
//! addresses and secrets is in `address` and `secret`. Called by the reading code of every file.

mod address;
mod secret;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

pub use address::Upstream;
pub(crate) use address::{network, socket_address, upstream};
pub(crate) use secret::secret;
use toml::de::DeValue;
use weir_protocol::{Bytes, Label, Version, VersionRef};

use crate::reader::{Item, Read, did_you_mean, shown};

/// Longest label key or value, in bytes; the same as a name's.
const MAX_LABEL_BYTES: usize = 128;

/// `true` or `false`.
pub(crate) fn flag(item: &Item<'_>) -> Read<bool> {
    match item.value() {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(item.mismatch("a boolean", "write true or false, without quotes")),
    }
}

/// A whole number within a range.
pub(crate) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Item<'_>) -> Read<T> {
    move |item| {
        let help = || format!("write a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = item.value() else {
            return Err(item.mismatch("an integer", help()));
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number =
            number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| item.wrong(format!("{} is out of range", shown(&digits.to_string())), help()))
    }
}

/// A number above 0 and up to `max`, with or without a fraction.
pub(crate) fn positive(max: f64) -> impl Fn(&Item<'_>) -> Read<f64> {
    move |item| number(item, |n| n > 0.0 && n <= max, &format!("write a number above 0 and up to {max}"))
}

/// A number, with or without a fraction, of no more than `most` on either side of zero.
pub(crate) fn within(most: f64) -> impl Fn(&Item<'_>) -> Read<f64> {
    move |item| number(item, |n| n.abs() <= most, &format!("write a number from -{most:e} to {most:e}"))
}

/// A share from 0 to 1.
pub(crate) fn ratio(item: &Item<'_>) -> Read<f64> {
    number(item, |n| (0.0..=1.0).contains(&n), "write a ratio from 0 to 1, such as 0.05 for 5 %")
}

fn number(item: &Item<'_>, accept: impl Fn(f64) -> bool, help: &str) -> Read<f64> {
    let (digits, number) = match item.value() {
        DeValue::Float(digits) => (digits.as_str(), digits.as_str().parse().ok()),
        DeValue::Integer(digits) => {
            let whole = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
            // Exact up to 2^53; no number here may come near it.
            (digits.as_str(), whole.map(|whole| whole as f64))
        }
        _ => return Err(item.mismatch("a number", help)),
    };
    number
        .filter(|n| accept(*n))
        .ok_or_else(|| item.wrong(format!("{} is out of range", shown(digits)), help))
}

/// A duration with its unit, such as `"250ms"`, within a range.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Item<'_>) -> Read<Duration> {
    move |item| {
        let text = |d: &Duration| humantime::format_duration(*d).to_string();
        let help = format!(
            "write a duration such as \"250ms\", from {} to {}",
            text(range.start()),
            text(range.end())
        );
        quantity(item, "duration", &range, &help, |text| humantime::parse_duration(text).ok())
    }
}

/// A size with its unit, such as `"16 MiB"`, within a range.
pub(crate) fn size(range: RangeInclusive<Bytes>) -> impl Fn(&Item<'_>) -> Read<Bytes> {
    move |item| {
        let help = format!("write a size such as \"16 MiB\", from {} to {}", range.start(), range.end());
        // Without a unit nobody can tell bytes from mebibytes.
        let with_unit = |text: &str| text.ends_with(|c: char| c.is_ascii_alphabetic());
        quantity(item, "size", &range, &help, |text| text.parse().ok().filter(|_| with_unit(text)))
    }
}

fn quantity<T: PartialOrd>(
    item: &Item<'_>,
    what: &str,
    range: &RangeInclusive<T>,
    help: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Read<T> {
    let text = item.text(&format!("a {what}"), help)?;
    let value = parse(text).ok_or_else(|| item.wrong(format!("`{}` is not a {what}", shown(text)), help))?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(item.wrong(format!("`{}` is out of range", shown(text)), help))
}

/// Text that some type of ours parses and whose error says enough.
pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(
    what: &'static str,
    help: &'static str,
) -> impl Fn(&Item<'_>) -> Read<T> {
    move |item| {
        let text = item.text(what, help)?;
        text.parse().map_err(|_| item.wrong(format!("`{}` is not {what}", shown(text)), help))
    }
}

/// The name of a worker, model or route.
pub(crate) fn name<T: FromStr<Err: fmt::Display>>() -> impl Fn(&Item<'_>) -> Read<T> {
    parsed("a name", "use 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
}

/// The name of an input or output: text that fits in a JSON string as it is.
pub(crate) fn tensor_name(item: &Item<'_>) -> Read<String> {
    let help = format!("write a name of 1 to {MAX_LABEL_BYTES} bytes, without control characters");
    let text = item.text("a name", &help)?;
    if is_word(text) {
        Ok(text.to_owned())
    } else {
        Err(item.wrong(format!("`{}` is not a name", shown(text)), help))
    }
}

/// One word of a closed list.
pub(crate) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Item<'_>) -> Read<T> {
    move |item| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let help = format!("write one of \"{}\"", known.join("\", \""));
        let text = item.text("a word", &help)?;
        let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        chosen.ok_or_else(|| {
            item.wrong(format!("`{}` is not known here", shown(text)), did_you_mean(text, &known))
        })
    }
}

/// A path; a relative one starts at the folder of the file.
pub(crate) fn path(item: &Item<'_>) -> Read<PathBuf> {
    let help = "write a path, relative to this file's folder or absolute";
    match item.text("a path", help)? {
        text if text.is_empty() || text.contains('\0') => Err(item.wrong("this is not a path", help)),
        text => Ok(item.folder().join(text)),
    }
}

/// An array of at least `least` values of one kind; every wrong element is recorded.
pub(crate) fn list<'a, T>(
    item: &Item<'a>,
    least: usize,
    example: &str,
    kind: impl Fn(&Item<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    let help = format!("write a list such as {example}");
    let items = item.elements().ok_or_else(|| item.mismatch("an array", &help))?;
    if items.len() < least {
        return Err(item.wrong(format!("needs at least {least} element"), help));
    }
    let read: Vec<_> = items.iter().map(kind).collect();
    read.into_iter().collect()
}

/// `{ key = "value", .. }` with free keys.
pub(crate) fn labels(item: &Item<'_>) -> Read<BTreeMap<String, String>> {
    let help = "write labels such as { zone = \"a\" }";
    let entries = item.entries().ok_or_else(|| item.mismatch("a table of labels", help))?;
    let label = |(key, item): (&str, Item<'_>)| {
        let value = item.text("a string", "write the label's value in quotes")?;
        if is_word(key) && is_word(value) {
            return Ok((key.to_owned(), value.to_owned()));
        }
        let help =
            format!("a label and its value have 1 to {MAX_LABEL_BYTES} bytes each, no control characters");
        Err(item.wrong("this is not a label", help))
    };
    let read: Vec<_> = entries.into_iter().map(label).collect();
    read.into_iter().collect()
}

/// A version of a model: a whole number from 1.
pub(crate) fn version_number(item: &Item<'_>) -> Read<Version> {
    let number: u64 = integer(1..=i64::MAX)(item)?;
    Version::new(number).ok_or_else(|| item.wrong("0 is out of range", "versions begin at 1"))
}

/// `{ label = version, .. }`: words that clients may say for a version of a model.
pub(crate) fn version_labels(item: &Item<'_>) -> Read<BTreeMap<Label, Version>> {
    let help = "write labels such as { stable = 1 }";
    let entries = item.entries().ok_or_else(|| item.mismatch("a table of versions", help))?;
    let label = |(key, item): (&str, Item<'_>)| {
        let version = version_number(&item);
        match key.parse() {
            Ok(VersionRef::Label(label)) => Ok((label, version?)),
            _ => {
                let help = "use a name that is not only digits, such as stable";
                Err(item.wrong(format!("`{}` is not a label for versions", shown(key)), help))
            }
        }
    };
    let read: Vec<_> = entries.into_iter().map(label).collect();
    read.into_iter().collect()
}

fn is_word(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}
