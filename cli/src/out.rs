//! Standard output: the payload and nothing else, byte for byte, each piece with one write.

use std::io::{self, IsTerminal};

use serde::Serialize;

use crate::{
    escape,
    problem::{Problem, Result},
    term,
};

/// Writes text of ours.
pub(crate) fn print(text: &str) -> Result<()> {
    term::write_all(io::stdout(), text.as_bytes()).map_err(|error| Problem::output(&error))
}

/// Writes a payload: as it is, or harmless when a terminal reads it.
pub(crate) fn payload(bytes: &[u8]) -> Result<()> {
    let stdout = io::stdout();
    let written = if stdout.is_terminal() {
        term::write_all(stdout, &escape::terminal(bytes))
    } else {
        term::write_all(stdout, bytes)
    };
    written.map_err(|error| Problem::output(&error).hint("the call has run"))
}

/// Writes values as JSON, one a line.
pub(crate) fn ndjson<T: Serialize>(values: &[T]) -> Result<()> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value).expect("rows of strings and numbers always serialize");
        lines.push(b'\n');
    }
    term::write_all(io::stdout(), &lines).map_err(|error| Problem::output(&error))
}
