//! Input that is taken line by line: standard input or a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::fd::AsFd,
};

use ipc_client::{Encoding, ErrorCode};

use crate::{
    body::Source,
    input, json,
    problem::{Problem, Result},
    term,
};

/// Where the lines come from. Each is there as soon as it is complete, so that a user at a terminal gets an answer to each.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    name: String,
    number: u64,
}

impl Lines {
    /// Opens standard input (`-`) or a file (`@file`).
    pub(crate) fn open(source: Source, subject: &str) -> Result<Self> {
        let (file, name) = self::source(source, subject)?;
        Ok(Self::of(file, name))
    }

    /// The lines of an open file.
    pub(crate) fn of(file: File, name: String) -> Self {
        Self { reader: BufReader::with_capacity(CAPACITY, Box::new(file)), name, number: 0 }
    }

    /// The next line without its line break; `None` at the end.
    pub(crate) fn next(&mut self, subject: &str) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let most = input::LIMIT as u64 + 1; // the line break does not count
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut line);
        read.map_err(|error| unreadable(subject, &self.name, &error))?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > input::LIMIT {
            return Err(input::too_large(subject, &format!("line {} of {}", self.number, self.name)));
        }
        Ok(Some(line))
    }

    /// As [`next`](Self::next); a line that is to be JSON must be a document.
    pub(crate) fn next_encoded(&mut self, encoding: Encoding, subject: &str) -> Result<Option<Vec<u8>>> {
        let line = self.next(subject)?;
        if let Some(line) = line.as_deref().filter(|_| encoding == Encoding::JSON) {
            let invalid = |error| Problem::new(ErrorCode::INVALID, subject, format!("the line is not JSON: {error}"));
            json::check(line).map_err(|error| invalid(error).at_line(self.number))?;
        }
        Ok(line)
    }

    /// The number of the line that was taken last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the next line is here already, so that taking it doesn't wait.
    pub(crate) fn has_next(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

/// Opens what `-` or `@file` stands for, and names it.
pub(crate) fn source(source: Source, subject: &str) -> Result<(File, String)> {
    let (file, name) = match source {
        Source::Stdin => (io::stdin().as_fd().try_clone_to_owned().map(File::from), "standard input".to_owned()),
        Source::File(path) => (File::open(&path), path.display().to_string()),
        Source::Nothing | Source::Literal(_) | Source::Object(_) => {
            return Err(Problem::usage(subject, "--lines wants - or @file, to take the lines from"));
        }
    };
    Ok((file.map_err(|error| unreadable(subject, &name, &error))?, name))
}

/// An input can't be read.
pub(crate) fn unreadable(subject: &str, name: &str, error: &io::Error) -> Problem {
    Problem::new(ErrorCode::NO_INPUT, subject, format!("cannot read {name}: {}", term::reason(error)))
}

/// As much as a pipe holds.
const CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<Vec<u8>> {
        let mut lines = from(bytes);
        std::iter::from_fn(|| lines.next("t").unwrap()).collect()
    }

    fn from(reader: impl Read + Send + 'static) -> Lines {
        Lines { reader: BufReader::new(Box::new(reader)), name: "it".into(), number: 0 }
    }

    #[test]
    fn a_line_ends_with_a_line_break_or_the_input() {
        assert_eq!(lines(b"a\nb\n"), [b"a", b"b"]);
        assert_eq!(lines(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"a\r\n\0"), [&b"a\r"[..], b"\0"]);
    }

    #[test]
    fn a_line_of_the_limit_fits_and_a_longer_one_does_not() {
        let line = |len: u64| from(io::repeat(b'x').take(len).chain(&b"\n"[..])).next("t");
        assert_eq!(line(input::LIMIT as u64).unwrap().unwrap().len(), input::LIMIT);
        assert!(line(input::LIMIT as u64 + 1).is_err());
    }

    #[test]
    fn lines_come_from_standard_input_or_a_file() {
        assert!(Lines::open(Source::Literal(b"a".to_vec()), "t").is_err());
        assert!(Lines::open(Source::Nothing, "t").is_err());
        let directory = tempfile::tempdir().unwrap();
        assert!(Lines::open(Source::File(directory.path().join("missing")), "t").is_err());
    }

    #[test]
    fn a_line_that_is_here_is_told_from_one_that_has_only_begun() {
        let mut lines = from(&b"a\nb\nc"[..]);
        lines.next("t").unwrap();
        assert!(lines.has_next());
        lines.next("t").unwrap();
        assert!(!lines.has_next());
    }
}
