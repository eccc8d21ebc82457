//! Standard output: the payload and nothing else, byte for byte, each piece with one write.

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde::Serialize;

use crate::{
    escape,
    problem::{Problem, Result},
};

/// Writes text of ours.
pub(crate) fn print(text: &str) -> Result<()> {
    write_all(io::stdout(), text.as_bytes()).map_err(|error| Problem::output(&error))
}

/// Writes a payload: as it is, or harmless when a terminal reads it.
pub(crate) fn payload(bytes: &[u8]) -> Result<()> {
    let stdout = io::stdout();
    let written =
        if stdout.is_terminal() { write_all(stdout, &escape::terminal(bytes)) } else { write_all(stdout, bytes) };
    written.map_err(|error| Problem::output(&error))
}

/// Writes values as JSON, one a line.
pub(crate) fn ndjson<T: Serialize>(values: &[T]) -> Result<()> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value).expect("rows of strings and numbers always serialize");
        lines.push(b'\n');
    }
    write_all(io::stdout(), &lines).map_err(|error| Problem::output(&error))
}

/// Writes to the descriptor itself: std's stdout would cut a payload at its last line break. A descriptor that somebody else made
/// non-blocking (a terminal shared with such a program) is waited for.
pub(crate) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    let to = to.as_fd();
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
