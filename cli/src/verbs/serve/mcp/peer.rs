//! A running server of the Model Context Protocol: a process that takes and writes lines.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_client::Bell;
use serde_json::{Value, json};

use super::{
    skim::Missed,
    written::{LONGEST, Line, Written},
};
use crate::{
    child::{
        GRACE, Interest,
        group::{Leader, Pipes, StartError, Surroundings},
        job::drain,
        ready,
        recipe::Recipe,
        verdict,
    },
    mcp::message::{self, FAILED, Fault, Message, NO_METHOD},
    term::reason,
    verbs::serve::journal::Journal,
};

/// The process and its pipes.
#[derive(Debug)]
pub(super) struct Peer {
    leader: Leader,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    unsent: Vec<u8>,
    written: Written,
    /// What it does that no server may, as in "the server …".
    misdeed: Option<&'static str>,
    started: Instant,
    journal: Arc<Journal>,
}

/// What it has written.
#[derive(Debug)]
pub(super) enum Said {
    Message(Message),
    /// Something too long to be read, which may have answered any request: why nothing will, as in "the server …".
    Lost(String),
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Perhaps a line, or room for one.
    Something,
    /// Our own bell.
    Bell,
    /// The process has ended, closed its output, or does what no server may.
    End,
    /// We are to end it.
    Quit,
    Time,
}

impl Peer {
    pub(super) fn start(
        recipe: Recipe,
        surroundings: &Surroundings,
        journal: Arc<Journal>,
    ) -> Result<Self, StartError> {
        let (leader, Pipes { stdin, stdout, .. }) = Leader::start(recipe, surroundings)?;
        let (unsent, written, misdeed) = (Vec::new(), Written::default(), None);
        Ok(Self { leader, stdin: Some(stdin), stdout, unsent, written, misdeed, started: Instant::now(), journal })
    }

    /// How long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it reads what it is told, so that there may be more of it.
    pub(super) fn has_room(&self) -> bool {
        self.unsent.len() < ROOM
    }

    /// Sends a message, as soon as the pipe takes it.
    pub(super) fn say(&mut self, message: &Value) {
        self.unsent.extend_from_slice(message::line(message).as_bytes());
        self.write();
    }

    /// Waits for something to do.
    pub(super) fn wait(&mut self, bell: Option<&Bell>, quit: &Bell, until: Option<Instant>) -> io::Result<Seen> {
        let stdin = self.stdin.as_ref().filter(|_| !self.unsent.is_empty());
        let watched = [
            (stdin.map(|pipe| pipe as _), Interest::Write),
            (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
            (Some(self.leader.exit() as _), Interest::Read),
            (bell.map(|bell| bell as _), Interest::Read),
            (Some(quit as _), Interest::Read),
        ];
        let until = until.into_iter().chain(self.written.due()).min();
        let [writable, readable, exited, rung, quit] = ready(watched, until)?;
        if writable {
            self.write();
        }
        let now = Instant::now();
        let (written, mut left) = (&mut self.written, if exited { LAST_TURN } else { TURN });
        drain(&mut self.stdout, |bytes| {
            written.add(bytes, now);
            left = left.saturating_sub(bytes.len());
            left > 0
        });
        if self.written.is_endless(now) {
            self.misdeed.get_or_insert("wrote a line that doesn't end");
        }
        Ok(match () {
            () if quit => Seen::Quit,
            () if exited || self.stdout.is_none() || self.misdeed.is_some() => Seen::End,
            () if rung => Seen::Bell,
            () if writable || readable => Seen::Something,
            () => Seen::Time,
        })
    }

    /// What it has written since the last time. Requests are answered here: nothing is offered to servers.
    pub(super) fn messages(&mut self) -> Vec<Said> {
        let mut messages = Vec::new();
        for line in self.written.lines() {
            match line {
                Line::Whole(line) => {
                    for message in message::read(&line) {
                        match message {
                            // A server's slip, as a line for people: it means nothing here.
                            Err(_) => self.journal.stray(&line),
                            Ok(message) => messages.extend(self.unless_request(message).map(Said::Message)),
                        }
                    }
                }
                Line::TooLong(Missed::Nothing) => {}
                Line::TooLong(Missed::Answer(number)) => {
                    let fault = Fault::new(FAILED, format!("the answer is longer than a line of {LONGEST} bytes"));
                    messages.push(Said::Message(Message::Answer { id: json!(number), outcome: Err(fault) }));
                }
                Line::TooLong(Missed::Perhaps) => {
                    messages.push(Said::Lost(format!("wrote a line of more than {LONGEST} bytes")));
                }
            }
        }
        messages
    }

    /// Answers a request.
    fn unless_request(&mut self, message: Message) -> Option<Message> {
        let Message::Request { id, method, .. } = message else { return Some(message) };
        if self.unsent.len() > MOST_UNREAD {
            self.misdeed.get_or_insert("asked without reading the answers");
            return None;
        }
        let none = || Fault::new(NO_METHOD, format!("there is no method '{method}'"));
        let outcome = if method == "ping" { Ok(json!({})) } else { Err(none()) };
        self.say(&message::reply(&id, outcome));
        None
    }

    /// Ends it: at the end of its input it should end by itself; then TERM, then KILL for its whole group. Says how it ended.
    pub(super) fn end(mut self) -> String {
        self.stdin = None;
        if !self.has_exited() {
            self.leader.ask_to_end();
            let _ = self.has_exited();
        }
        let end = self.leader.reap().map_or_else(|error| format!("ended: {}", reason(&error)), verdict::describe);
        self.misdeed.map_or(end, |misdeed| format!("{misdeed}, was ended"))
    }

    fn has_exited(&self) -> bool {
        matches!(ready([(Some(self.leader.exit() as _), Interest::Read)], Some(Instant::now() + GRACE)), Ok([true]))
    }

    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.unsent.is_empty() {
            match stdin.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.unsent.clear(), // its end says more
            }
        }
    }
}

/// Bytes that wait for the pipe to take them, beyond which no call is begun: as many as a pipe holds.
const ROOM: usize = 64 << 10;
/// Bytes of answers that a server may leave unread. One that leaves more reads nothing any more, and calls neither.
const MOST_UNREAD: usize = 4 << 20;
/// Bytes that are read in one turn, between looks at everything else: as many as a pipe holds.
const TURN: usize = 64 << 10;
/// After its end: as many as a pipe can be made to hold.
const LAST_TURN: usize = 1 << 20;
