//! Reads what the command line names: standard input and files, never more than a body may hold.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use ipc_client::{Error, ErrorCode, limits::MAX_BODY};

use crate::{
    problem::{Problem, Result},
    term,
};

/// Most bytes of a body.
pub(crate) const LIMIT: usize = MAX_BODY as usize;

/// Reads a file. `subject` is what the body is for.
pub(crate) fn file(path: &Path, subject: &str) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let unreadable = |error: &io::Error| no_input(subject, &name, error);
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    bounded(file, subject, &name)?.map_err(|error| unreadable(&error))
}

/// Reads standard input to its end.
pub(crate) fn stdin(subject: &str) -> Result<Vec<u8>> {
    bounded(io::stdin(), subject, "standard input")?.map_err(|error| no_input(subject, "standard input", &error))
}

/// Reads to the end, or to one byte over the limit: `ipcctl send x - </dev/zero` must end.
fn bounded(reader: impl Read, subject: &str, name: &str) -> Result<io::Result<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = reader.take(LIMIT as u64 + 1).read_to_end(&mut bytes);
    if bytes.len() > LIMIT {
        return Err(too_large(subject, name));
    }
    Ok(read.map(|_| bytes))
}

/// The body does not fit.
pub(crate) fn too_large(subject: &str, what: &str) -> Problem {
    let error = Error::new(ErrorCode::TOO_LARGE, format!("{what} is over the limit of {LIMIT} bytes"));
    Problem::of_call(subject, &error)
}

fn no_input(subject: &str, name: &str, error: &io::Error) -> Problem {
    Problem::new(ErrorCode::NO_INPUT, subject, format!("cannot read {name}: {}", term::reason(error)))
        .hint("to send the text itself, put --raw before it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_limit_fits_and_one_byte_more_does_not() {
        let read = |len: u64| bounded(io::repeat(0).take(len), "a", "it");
        assert_eq!(read(LIMIT as u64).unwrap().unwrap().len(), LIMIT);
        assert_eq!(read(LIMIT as u64 + 1).unwrap_err().exit(), Exit::Code(65));
    }

    #[test]
    fn an_endless_input_ends_at_the_limit() {
        assert_eq!(bounded(io::repeat(0), "a", "it").unwrap_err().exit(), Exit::Code(65));
    }

    #[test]
    fn a_file_that_is_not_there_is_no_input() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(file(&directory.path().join("missing"), "a").unwrap_err().exit(), Exit::Code(66));
        assert_eq!(file(Path::new("/"), "a").unwrap_err().exit(), Exit::Code(66));
    }
}
