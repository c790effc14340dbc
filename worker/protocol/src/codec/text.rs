//! A cursor over JSON text: the grammar of RFC 8259, one token at a time, nothing kept.
//!
//! Exists because tensors need three things that JSON libraries do not give: numbers rounded once to their own type
//! (FP32 not by way of FP64), the bare tokens `NaN`, `Infinity` and `-Infinity` that Triton and Python's `json` write,
//! and a bound on nesting that also holds in what is skipped. Knows nothing of tensors. Only strings are checked to
//! be UTF-8: elsewhere a byte beyond ASCII is no token. Escaped strings are left to serde_json. Called by the
//! readers beside it.

use std::borrow::Cow;

use super::{
    number::{Broken, Number},
    words::{below, equal, length_until},
};

/// What a reader answers: the value, or in words what was expected and what was there.
pub(super) type Checked<T> = Result<T, String>;

/// Nesting that no limit can exceed. Skipping recurses, about 200 bytes of stack a level.
const DEEPEST: usize = 128;

/// A position in JSON text. A clone reads the same text again from the same place.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `text`; arrays and objects may nest `max_depth` deep, at most 128.
    pub(super) fn new(text: &'a [u8], max_depth: usize) -> Self {
        Self { text, at: 0, depth: 0, max_depth: max_depth.min(DEEPEST) }
    }

    /// Number of bytes not yet read.
    pub(super) fn remaining(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// The first byte of the next token.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.byte()
    }

    /// Whether an array stands here that begins with an array.
    pub(super) fn nests(&self) -> bool {
        let mut ahead = self.clone();
        ahead.peek();
        ahead.eat(b'[') && ahead.peek() == Some(b'[')
    }

    /// What stands here instead of `expected`.
    pub(super) fn fault(&self, expected: &str) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let character = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        let found = match (character, rest.first()) {
            (Some('"'), _) => "'\"'".to_owned(),
            (Some(c), _) => format!("'{}'", c.escape_debug()),
            (None, Some(byte)) => format!("the byte {byte:#04x}"),
            (None, None) => "the end".to_owned(),
        };
        format!("JSON byte {}: expected {expected}, found {found}", self.at)
    }

    /// Reads `{...}`; `on_value` reads the value of each key.
    pub(super) fn object(
        &mut self,
        mut on_value: impl FnMut(&mut Self, Cow<'a, str>) -> Checked<()>,
    ) -> Checked<()> {
        self.group([b'{', b'}'], ["an object", "',' or '}'"], |cursor| {
            let key = cursor.string()?;
            cursor.token(b':', "':'")?;
            on_value(cursor, key)
        })
    }

    /// Reads `[...]`; `on_item` reads each item.
    pub(super) fn array(&mut self, on_item: impl FnMut(&mut Self) -> Checked<()>) -> Checked<()> {
        self.group([b'[', b']'], ["an array", "',' or ']'"], on_item)
    }

    fn group(
        &mut self,
        [open, close]: [u8; 2],
        [whole, more]: [&str; 2],
        mut on_item: impl FnMut(&mut Self) -> Checked<()>,
    ) -> Checked<()> {
        self.token(open, whole)?;
        if self.depth == self.max_depth {
            return Err(format!("JSON byte {}: nested deeper than {} levels", self.at, self.max_depth));
        }
        self.depth += 1;
        if self.peek() == Some(close) {
            self.at += 1;
        } else {
            loop {
                on_item(self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(byte) if byte == close => break self.at += 1,
                    _ => return Err(self.fault(more)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string; borrowed unless it holds escapes.
    pub(super) fn string(&mut self) -> Checked<Cow<'a, str>> {
        self.token(b'"', "a string")?;
        let from = self.at;
        self.pass_plain()?;
        if self.eat(b'"') {
            return self.utf8(from, self.at - 1).map(Cow::Borrowed);
        }
        while !self.eat(b'"') {
            self.at += 2; // A backslash and what it escapes, which may be a quote.
            self.pass_plain()?;
        }
        serde_json::from_str(self.utf8(from - 1, self.at)?)
            .map(Cow::Owned)
            .map_err(|_| format!("JSON byte {from}: expected a string, found one with a wrong escape"))
    }

    fn pass_plain(&mut self) -> Checked<()> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mark = |word| equal(word, b'"') | equal(word, b'\\') | below(word, b' ');
        self.at += length_until(rest, mark, |byte| byte == b'"' || byte == b'\\' || byte < b' ');
        match self.byte() {
            Some(b'"' | b'\\') => Ok(()),
            _ => Err(self.fault("the end of a string")),
        }
    }

    /// Reads a number; `take` makes a value of it or says what is wrong with it.
    #[inline(always)]
    pub(super) fn number<T>(&mut self, take: impl FnOnce(&Number<'a>) -> Checked<T>) -> Checked<T> {
        self.number_or(take, |cursor, broken| {
            cursor.at += broken.at;
            Err(cursor.fault(broken.expected))
        })
    }

    /// Reads a number as [`Self::number`] does, or `NaN`, `Infinity` or `-Infinity`, which goes to `convert`.
    #[inline(always)]
    pub(super) fn float<T>(
        &mut self,
        take: impl FnOnce(&Number<'a>) -> Checked<T>,
        convert: impl FnOnce(f64) -> T,
    ) -> Checked<T> {
        self.number_or(take, |cursor, broken| cursor.non_finite(broken).map(convert))
    }

    /// Reads plain numbers and the comma behind each, `most` at most, and tells how many. Stops before the first one
    /// that is anything else or that `take` does not take.
    #[inline(always)]
    pub(super) fn plain_numbers(&mut self, most: u64, mut take: impl FnMut(&Number<'a>) -> bool) -> u64 {
        let (mut seen, mut rest) = (0, self.text.get(self.at..).unwrap_or_default());
        while seen < most {
            let spaced = rest.strip_prefix(b" ").unwrap_or(rest);
            let Some(number) = Number::plain(spaced) else { break };
            let Some((b',', behind)) = spaced.get(number.len()..).and_then(<[u8]>::split_first) else {
                break;
            };
            if !take(&number) {
                break;
            }
            rest = behind;
            seen += 1;
        }
        self.at = self.text.len() - rest.len();
        seen
    }

    /// The number does not leave this function: passed on, its many parts would cost more than reading it.
    #[inline(always)]
    fn number_or<T>(
        &mut self,
        take: impl FnOnce(&Number<'a>) -> Checked<T>,
        otherwise: impl FnOnce(&mut Self, Broken) -> Checked<T>,
    ) -> Checked<T> {
        self.peek();
        match Number::scan(self.text.get(self.at..).unwrap_or_default()) {
            Ok(number) => {
                self.at += number.len();
                take(&number)
            }
            Err(broken) => otherwise(self, broken),
        }
    }

    #[cold]
    fn non_finite(&mut self, broken: Broken) -> Checked<f64> {
        let tokens = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];
        if let Some((_, value)) = tokens.into_iter().find(|(token, _)| self.word(token)) {
            return Ok(value);
        }
        self.at += broken.at;
        Err(self.fault(broken.expected))
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&mut self) -> Checked<bool> {
        self.peek();
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.fault("true or false"))
        }
    }

    /// Reads `null` if it stands here.
    pub(super) fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.word("null")
    }

    /// Reads any value and forgets it.
    pub(super) fn skip(&mut self) -> Checked<()> {
        match self.peek() {
            Some(b'{') => self.object(|cursor, _| cursor.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => self.float(|_| Ok(()), |_| ()),
            _ if self.null() => Ok(()),
            _ => Err(self.fault("a value")),
        }
    }

    /// Checks that nothing but white space follows.
    pub(super) fn end(&mut self) -> Checked<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("the end")),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let here = self.byte() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn token(&mut self, byte: u8, expected: &str) -> Checked<()> {
        self.peek();
        if self.eat(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let here = rest.starts_with(word.as_bytes());
        self.at += if here { word.len() } else { 0 };
        here
    }

    fn utf8(&self, from: usize, to: usize) -> Checked<&'a str> {
        let bytes = self.text.get(from..to).unwrap_or_default();
        std::str::from_utf8(bytes)
            .map_err(|error| format!("JSON byte {}: expected UTF-8", from + error.valid_up_to()))
    }
}

#[cfg(test)]
mod tests;
