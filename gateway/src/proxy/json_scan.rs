//! Finds the top-level `model` of a JSON body without parsing the rest.
//!
//! One pass that steps over every other value, so that a long prompt costs a look at each byte and no allocation.
//! What it does not look at, it does not check: the worker parses the body. Called by [`super::local`] for paths that
//! name their model in the body.

use weir_protocol::OipError;

/// The key that names the model.
const KEY: &str = "model";

/// What the bytes at hand say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// The model's name, if it was seen.
    pub(super) model: Option<String>,
    /// Whether the object's end was seen.
    pub(super) ended: bool,
}

/// Searches the beginning of a JSON object.
///
/// # Errors
/// `bad-request`: no object, a `model` that is no string, or two of them, which two parsers may read differently.
pub(super) fn scan(body: &[u8]) -> Result<Scan, OipError> {
    let mut cursor = Cursor { body, at: 0 };
    let mut found = Scan::default();
    match cursor.walk(&mut found) {
        Ok(()) | Err(Stop::Short) => Ok(found),
        Err(Stop::Wrong(why)) => Err(OipError::bad_request(why)),
    }
}

/// Why walking an object ended early.
enum Stop {
    /// The bytes end here.
    Short,
    /// They are not what they should be.
    Wrong(&'static str),
}

const NOT_JSON: Stop = Stop::Wrong("the body is no JSON object");

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn walk(&mut self, found: &mut Scan) -> Result<(), Stop> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            found.ended = true;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            if unquoted(key).is_some_and(|key| key == KEY) {
                self.model(found)?;
            } else {
                self.skip_value()?;
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return Err(NOT_JSON),
            }
        }
        found.ended = true;
        Ok(())
    }

    fn model(&mut self, found: &mut Scan) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Wrong("`model` must be a string"));
        }
        let name = unquoted(self.string()?).ok_or(NOT_JSON)?;
        if found.model.replace(name).is_some() {
            return Err(Stop::Wrong("the body has `model` twice: name the model once"));
        }
        Ok(())
    }

    /// Steps over blanks; the byte there, which stays.
    fn peek(&mut self) -> Result<u8, Stop> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blanks;
        rest.get(blanks).copied().ok_or(Stop::Short)
    }

    /// Steps over blanks and one byte.
    fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.next()? == wanted { Ok(()) } else { Err(NOT_JSON) }
    }

    /// Takes a string with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Stop> {
        self.expect(b'"')?;
        let start = self.at - 1;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let length = rest.iter().position(|b| matches!(b, b'"' | b'\\')).ok_or(Stop::Short)?;
            self.at += length + 1;
            if rest.get(length) == Some(&b'"') {
                return Ok(self.body.get(start..self.at).unwrap_or_default());
            }
            // Whatever is escaped is one byte here: the rest of \uXXXX is plain.
            self.at += 1;
        }
    }

    /// Steps over one value; what nests is followed by its brackets.
    fn skip_value(&mut self) -> Result<(), Stop> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => _ = self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(NOT_JSON)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                b',' | b':' => return Err(NOT_JSON),
                _ => self.skip_word()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Steps over a number, `true`, `false` or `null`, up to what ends it.
    fn skip_word(&mut self) -> Result<(), Stop> {
        let ends =
            |b: &u8| matches!(b, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"') || b.is_ascii_whitespace();
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(ends).ok_or(Stop::Short)?;
        Ok(())
    }
}

/// The text of a JSON string; `None` when it is none.
fn unquoted(quoted: &[u8]) -> Option<String> {
    serde_json::from_slice(quoted).ok()
}

#[cfg(test)]
mod tests;
