//! A running server of the Model Context Protocol: a process that takes and writes lines.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_client::{Bell, limits::MAX_BODY};
use serde_json::{Value, json};

use crate::{
    child::{
        GRACE, Interest,
        group::{Leader, Pipes, StartError, Surroundings},
        job::drain,
        ready,
        recipe::Recipe,
        verdict,
    },
    mcp::message::{self, Fault, Message, NO_METHOD},
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
    /// Output after the last line.
    said: Vec<u8>,
    started: Instant,
    journal: Arc<Journal>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Perhaps a line, or room for one.
    Something,
    /// Our own bell.
    Bell,
    /// The process has ended, closed its output, or writes lines without end.
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
        let (unsent, said) = (Vec::new(), Vec::new());
        Ok(Self { leader, stdin: Some(stdin), stdout, unsent, said, started: Instant::now(), journal })
    }

    /// How long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
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
        let [writable, readable, exited, rung, quit] = ready(watched, until)?;
        if writable {
            self.write();
        }
        let said = &mut self.said;
        drain(&mut self.stdout, |bytes| {
            said.extend_from_slice(bytes);
            said.len() <= LONGEST
        });
        Ok(match () {
            () if quit => Seen::Quit,
            () if self.said.contains(&b'\n') => Seen::Something,
            () if exited || self.stdout.is_none() || self.said.len() > LONGEST => Seen::End,
            () if rung => Seen::Bell,
            () if writable || readable => Seen::Something,
            () => Seen::Time,
        })
    }

    /// The messages that it has written. Requests among them are answered here: nothing is offered to servers.
    pub(super) fn messages(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
            let rest = self.said.split_off(end + 1);
            let line = std::mem::replace(&mut self.said, rest);
            for message in message::read(&line) {
                match message {
                    // A server's slip, as a line for people: it means nothing here.
                    Err(_) => self.journal.stray(&line),
                    Ok(Message::Request { id, method, .. }) => {
                        let none = || Fault::new(NO_METHOD, format!("there is no method '{method}'"));
                        let outcome = if method == "ping" { Ok(json!({})) } else { Err(none()) };
                        self.say(&message::reply(&id, outcome));
                    }
                    Ok(message) => messages.push(message),
                }
            }
        }
        messages
    }

    /// Ends it: at the end of its input it should end by itself; then TERM, then KILL for its whole group. Says how it ended.
    pub(super) fn end(mut self) -> String {
        self.stdin = None;
        if !self.has_exited() {
            self.leader.ask_to_end();
            let _ = self.has_exited();
        }
        self.leader.reap().map_or_else(|error| format!("ended: {}", reason(&error)), verdict::describe)
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

/// Bytes of a line: as many as a reply may have, and a frame around it.
const LONGEST: usize = MAX_BODY as usize + 4096;
