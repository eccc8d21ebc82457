//! `ipcctl send --lines`: one call for each line, one answer a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use ipc_client::{Client, Encoding, ErrorCode};

use crate::{
    body::{Body, Source},
    call::Template,
    exit::Exit,
    format::Format,
    input, json,
    problem::{Problem, Result},
    reply, term,
};

/// Where the lines come from. A line is sent as soon as it is complete, so a user at a terminal gets an answer to each.
pub(crate) struct Input {
    reader: Box<dyn BufRead>,
    name: String,
    line: u64,
}

impl Input {
    /// Opens standard input (`-`) or a file (`@file`).
    pub(crate) fn open(source: Source, subject: &str) -> Result<Self> {
        let (reader, name): (Box<dyn BufRead>, String) = match source {
            Source::Stdin => (Box::new(io::stdin().lock()), "standard input".to_owned()),
            Source::File(path) => {
                let name = path.display().to_string();
                let file = File::open(&path).map_err(|error| unreadable(subject, &name, &error))?;
                (Box::new(BufReader::new(file)), name)
            }
            Source::Nothing | Source::Literal(_) | Source::Object(_) => {
                return Err(Problem::usage(subject, "--lines wants - or @file, to take the lines from"));
            }
        };
        Ok(Self { reader, name, line: 0 })
    }

    /// The next line without its line break; `None` at the end.
    fn next(&mut self, subject: &str) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let most = input::LIMIT as u64 + 1; // the line break does not count
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut line);
        read.map_err(|error| unreadable(subject, &self.name, &error))?;
        if line.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > input::LIMIT {
            return Err(input::too_large(subject, &format!("line {} of {}", self.line, self.name)));
        }
        Ok(Some(line))
    }
}

/// Makes one call after the other, each when the one before has been answered. Stops at the first that fails.
pub(crate) fn run(template: &Template<'_>, mut input: Input, client: &Client, format: Format) -> Result<Exit> {
    let encoding = template.encoding.unwrap_or(Encoding::BYTES);
    while let Some(bytes) = input.next(&template.subject)? {
        if encoding == Encoding::JSON {
            check_json(&bytes, template, input.line)?;
        }
        let request = template.request(Body { encoding, bytes });
        let response = template.call(client, request).map_err(|problem| problem.at_line(input.line))?;
        reply::print_line(&response, format, &template.subject)?;
    }
    Ok(Exit::SUCCESS)
}

fn check_json(line: &[u8], template: &Template<'_>, number: u64) -> Result<()> {
    let invalid = |error| Problem::new(ErrorCode::INVALID, &template.subject, format!("the line is not JSON: {error}"));
    json::check(line).map_err(|error| invalid(error).at_line(number))
}

fn unreadable(subject: &str, name: &str, error: &io::Error) -> Problem {
    Problem::new(ErrorCode::NO_INPUT, subject, format!("cannot read {name}: {}", term::reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<Vec<u8>> {
        let mut input = Input { reader: Box::new(bytes), name: "it".into(), line: 0 };
        std::iter::from_fn(|| input.next("t").unwrap()).collect()
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
        let line = |len: u64| {
            let reader = Box::new(BufReader::new(io::repeat(b'x').take(len).chain(&b"\n"[..])));
            Input { reader, name: "it".into(), line: 0 }.next("t")
        };
        assert_eq!(line(input::LIMIT as u64).unwrap().unwrap().len(), input::LIMIT);
        assert!(line(input::LIMIT as u64 + 1).is_err());
    }

    #[test]
    fn lines_come_from_standard_input_or_a_file() {
        assert!(Input::open(Source::Literal(b"a".to_vec()), "t").is_err());
        assert!(Input::open(Source::Nothing, "t").is_err());
        let directory = tempfile::tempdir().unwrap();
        assert!(Input::open(Source::File(directory.path().join("missing")), "t").is_err());
    }
}
