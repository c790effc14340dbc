//! Turns byte offsets into lines and columns for people.
//!
//! Counts characters, as editors do; knows nothing of TOML. Called by the reader alone.

use std::{collections::BTreeSet, ops::Range};

/// Where the lines of a text begin.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of a text.
    pub(crate) fn of(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line that an offset lies in, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Line and column in characters, both from 1. An offset past the end is the end.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        // A byte order mark takes no column on any screen.
        let shown = before.chars().filter(|c| *c != '\u{feff}').count();
        (line, shown + 1)
    }

    /// The text between two offsets; empty when they are no such range.
    pub(crate) fn slice(&self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// The whole line of an offset, its newline included.
    pub(crate) fn line_text(&self, offset: usize) -> &'t str {
        self.slice(self.line_range(self.line(offset)))
    }

    /// The text with these lines, from 1, as spaces: every other offset stays what it is.
    pub(crate) fn blanked(&self, lines: &BTreeSet<usize>) -> String {
        let mut text = String::with_capacity(self.text.len());
        for line in 1..=self.starts.len() {
            let kept = self.slice(self.line_range(line));
            if lines.contains(&line) {
                text.extend(kept.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
            } else {
                text.push_str(kept);
            }
        }
        text
    }

    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        start..self.starts.get(line).copied().unwrap_or(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let lines = Lines::of("\u{feff}a = 1\r\nü = \"x\"\n");
        assert_eq!(lines.position(3), (1, 1));
        assert_eq!(lines.position(7), (1, 5));
        assert_eq!(lines.position(10), (2, 1));
        assert_eq!(lines.position(15), (2, 5));
        assert_eq!(lines.position(999), (3, 1));
        assert_eq!(lines.line_text(12), "ü = \"x\"\n");
    }

    #[test]
    fn blanking_lines_moves_nothing() {
        let text = "a\r\nü = 1\nc";
        let blanked = Lines::of(text).blanked(&BTreeSet::from([2, 3]));
        assert_eq!(blanked, "a\r\n      \n ");
        assert_eq!(blanked.len(), text.len());
    }

    #[test]
    fn an_empty_text_has_one_line() {
        assert_eq!(Lines::of("").position(0), (1, 1));
    }
}
