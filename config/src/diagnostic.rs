//! What is wrong with a configuration file, where, and what to write instead.

use std::{fmt, path::PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key, such as `worker[2].url` (the third worker's); empty for a syntax error.
    pub key: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to write instead; may be empty.
    pub help: String,
}

/// Everything that is wrong with one file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the caller named it.
    pub file: PathBuf,
    /// The problems in the order of their position.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    /// One line per problem: `file:line:column: key: message (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, p) in self.list.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{}:{}: ", self.file.display(), p.line, p.column)?;
            if !p.key.is_empty() {
                write!(f, "{}: ", p.key)?;
            }
            f.write_str(&p.message)?;
            if !p.help.is_empty() {
                write!(f, " ({})", p.help)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
