//! Events on standard output: one line each, written as soon as there is nothing more to take.

use std::{
    io::{self, IsTerminal, Stdout},
    os::fd::AsFd,
};

use ipc_client::{Event, Identity, PeerNumber, Response, poll::PollFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::outside::{End, Outside};
use crate::{
    escape,
    format::Format,
    json,
    problem::{Problem, Result},
    reply,
};

/// Lines on their way to standard output.
#[derive(Debug)]
pub(super) struct Printer {
    stdout: Stdout,
    format: Format,
    is_terminal: bool,
    unwritten: Vec<u8>,
}

/// Who published an event.
#[derive(Serialize)]
struct Publisher {
    uid: u32,
    gid: u32,
    pid: Option<u32>,
    peer: Option<PeerNumber>,
}

#[derive(Serialize)]
struct Head<'a> {
    topic: &'a str,
    publisher: Option<Publisher>,
    sequence: Option<u64>,
    retained: bool,
}

impl Printer {
    pub(super) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self { stdout, format, is_terminal, unwritten: Vec::new() }
    }

    /// Adds the line of an event. False if its body is more than one line, which only JSON can show.
    #[must_use]
    pub(super) fn event(&mut self, event: &Event) -> bool {
        let line = match self.format {
            Format::Text => reply::line(&Response::new(event.encoding, event.body.clone()), Format::Text),
            Format::Json => Some(document(event)),
        };
        line.as_deref().map(|line| self.line(line)).is_some()
    }

    /// Adds a line of our own.
    pub(super) fn line(&mut self, line: &[u8]) {
        match self.is_terminal {
            true => self.unwritten.extend_from_slice(&escape::terminal(line)),
            false => self.unwritten.extend_from_slice(line),
        }
    }

    /// Whether so much has gathered that it should be written.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten.len() >= FULL
    }

    /// Writes all of it, unless something ends the wait for room.
    pub(super) fn flush(&mut self, outside: &Outside) -> Result<Option<End>> {
        let mut written = 0;
        while written < self.unwritten.len() {
            let waited = outside.wait(&[(self.stdout.as_fd(), PollFlags::OUT)], None);
            let (ready, end) = waited.map_err(|error| Problem::host("stdout", "cannot wait for room", &error))?;
            let has_room = ready.iter().any(|flags| !flags.is_empty());
            match end {
                Some(end) if !has_room || end != End::Time => return Ok(Some(end)),
                _ if !has_room => continue,
                _ => {}
            }
            let piece = &self.unwritten[written..self.unwritten.len().min(written + PIECE)];
            match rustix::io::write(&self.stdout, piece) {
                Ok(len) => written += len,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(Problem::output(&error.into())),
            }
        }
        self.unwritten.clear();
        Ok(None)
    }

    /// Where its reader can be watched.
    pub(super) fn stdout(&self) -> &Stdout {
        &self.stdout
    }
}

/// An event as one JSON document in one line.
fn document(event: &Event) -> Vec<u8> {
    let publisher = event.publisher.as_deref().map(|caller| {
        let Identity { uid, gid, pid, .. } = caller.identity;
        Publisher { uid, gid, pid, peer: caller.peer }
    });
    let head = Head { topic: event.topic.as_str(), publisher, sequence: event.sequence, retained: event.retained };
    let mut line = serde_json::to_vec(&head).expect("strings and numbers always serialize");
    line.pop(); // the brace, which comes after the body
    line.push(b',');
    line.extend(json::in_one_line(&json::members(event.encoding, &event.body)));
    line.extend_from_slice(b"}\n");
    line
}

/// Bytes that gather before they are written, while there are more events to take.
const FULL: usize = 64 * 1024;
/// The longest write that can't block on a pipe with room (PIPE_BUF, pipe(7)): a signal must not wait for a reader.
const PIECE: usize = 4096;
