//! One run of a command: the body goes in at standard input, the reply comes out at standard output.
//!
//! ```text
//!            body ─► stdin ┌─────────┐ stdout ─► reply
//!                          │ command │ stderr ─► log, and the tail of it for an error
//!  cancel, deadline ─TERM► └─────────┘
//!                    500 ms later KILL, to the whole process group
//! ```
//!
//! All four ends are watched by one poll, so a command may read late, write early, do both at once or neither. When it has ended
//! what lies in the pipes is read and the rest of its group killed: a grandchild that holds a pipe open delays nobody.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    process::ExitStatus,
    time::Instant,
};

use ipc_client::limits::MAX_BODY;
use nix::sys::signal::Signal;

use crate::child::{
    GRACE, Interest,
    bell::Bell,
    group::{Leader, StartError, Started, Stderr},
    log::Log,
    ready,
    recipe::Recipe,
    tail::Tail,
};

/// Why a run was ended before the command ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody waits for the reply any more.
    Cancelled,
    /// The time of the call or of the command is over.
    OutOfTime,
    /// It wrote more than a reply may hold.
    TooMuch,
    /// The service itself is ending.
    Quit,
}

/// What ends a run early.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    /// Rings when nobody waits any more.
    pub(crate) cancel: &'a Bell,
    /// Rings when the service has to end at once.
    pub(crate) quit: &'a Bell,
    /// When the time is over.
    pub(crate) until: Option<Instant>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How the command ended.
    pub(crate) status: ExitStatus,
    /// Why it was ended, if it did not end by itself.
    pub(crate) stop: Option<Stop>,
    /// What it wrote on standard output.
    pub(crate) reply: Vec<u8>,
    /// The last part of what it wrote on standard error.
    pub(crate) complaint: String,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    leader: Leader,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    unsent: &'a [u8],
    reply: Vec<u8>,
    complaint: Tail,
    log: Log,
    has_exited: bool,
    stop: Option<Stopping>,
}

/// A run that is being ended.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    reason: Stop,
    kill_at: Option<Instant>, // None: killed
}

impl<'a> Job<'a> {
    /// Starts a command with `body` as its standard input.
    pub(crate) fn start(recipe: Recipe, body: &'a [u8], log: Log) -> Result<Self, StartError> {
        let Started { leader, stdin, stdout, stderr } = Leader::start(recipe, Stderr::Pipe)?;
        Ok(Self {
            leader,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr,
            unsent: body,
            reply: Vec::new(),
            complaint: Tail::default(),
            log,
            has_exited: false,
            stop: None,
        })
    }

    /// Runs it to its end, or to the end that `bounds` set.
    pub(crate) fn finish(mut self, bounds: &Bounds<'_>) -> io::Result<Finished> {
        self.feed();
        while !self.is_over() {
            self.turn(bounds)?;
        }
        self.drain_output();
        self.drain_complaint();
        Ok(Finished {
            status: self.leader.reap()?,
            stop: self.stop.map(|stopping| stopping.reason),
            reply: self.reply,
            complaint: self.complaint.text(),
        })
    }

    /// A command that ended by itself is over at once. Of one that was told to end, the rest of the group may use the grace time:
    /// as long as somebody holds a pipe open, somebody is tidying up.
    fn is_over(&self) -> bool {
        let is_closed = self.stdout.is_none() && self.stderr.is_none();
        match self.stop {
            None => self.has_exited,
            Some(stopping) => self.has_exited && (is_closed || stopping.kill_at.is_none()),
        }
    }

    fn turn(&mut self, bounds: &Bounds<'_>) -> io::Result<()> {
        let is_stopping = self.stop.is_some();
        let until = match self.stop {
            Some(stopping) => stopping.kill_at,
            None => bounds.until,
        };
        let watched = [
            (self.stdin.as_ref().map(|pipe| pipe as _), Interest::Write),
            (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
            (self.stderr.as_ref().map(|pipe| pipe as _), Interest::Read),
            ((!self.has_exited).then_some(self.leader.exit() as _), Interest::Read),
            ((!is_stopping).then_some(bounds.cancel as _), Interest::Read),
            ((!is_stopping).then_some(bounds.quit as _), Interest::Read),
        ];
        let [stdin, stdout, stderr, exited, cancelled, quit] = ready(watched, until)?;
        if stdin {
            self.feed();
        }
        if stdout {
            self.drain_output();
        }
        if stderr {
            self.drain_complaint();
        }
        self.has_exited |= exited;
        if cancelled {
            self.end(Stop::Cancelled);
        }
        if quit {
            self.end(Stop::Quit);
        }
        self.keep_time(bounds);
        Ok(())
    }

    fn keep_time(&mut self, bounds: &Bounds<'_>) {
        let now = Instant::now();
        match &mut self.stop {
            None if bounds.until.is_some_and(|until| until <= now) && !self.has_exited => self.end(Stop::OutOfTime),
            Some(Stopping { kill_at, .. }) if kill_at.is_some_and(|kill_at| kill_at <= now) => {
                *kill_at = None;
                self.leader.signal(Signal::SIGKILL);
            }
            None | Some(_) => {}
        }
    }

    /// Asks the whole group to end. A command that ends between the last look and now has answered: its reply counts.
    fn end(&mut self, reason: Stop) {
        if self.stop.is_none() && (!self.has_exited || reason == Stop::TooMuch) {
            self.leader.ask_to_end();
            self.stdin = None;
            self.stop = Some(Stopping { reason, kill_at: Some(Instant::now() + GRACE) });
        }
    }

    /// Writes as much of the body as the pipe takes. A command need not read it: EPIPE is as good as the end.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.unsent.is_empty() {
            match stdin.write(self.unsent) {
                Ok(written) => self.unsent = &self.unsent[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.stdin = None;
    }

    /// Reads what lies in the pipe. Once the run is being ended nothing of it is kept.
    fn drain_output(&mut self) {
        let (reply, is_stopping) = (&mut self.reply, self.stop.is_some());
        let mut is_over_limit = false;
        drain(&mut self.stdout, |bytes| {
            if !is_stopping {
                reply.extend_from_slice(bytes);
            }
            is_over_limit = reply.len() > MAX_BODY as usize;
            !is_over_limit
        });
        if is_over_limit && !is_stopping {
            self.end(Stop::TooMuch);
        }
    }

    fn drain_complaint(&mut self) {
        let (complaint, log) = (&mut self.complaint, self.log);
        let mut budget = DRAIN_BUDGET;
        drain(&mut self.stderr, |bytes| {
            complaint.push(bytes);
            log.pass(bytes);
            budget = budget.saturating_sub(bytes.len());
            budget > 0
        });
    }
}

/// Bytes read from standard error in one go: a command that never stops complaining must not keep its cancel waiting.
const DRAIN_BUDGET: usize = 1 << 20;

/// Reads a pipe until it is empty, ends, or `take` has enough. One that has ended is closed.
pub(crate) fn drain<R: Read>(pipe: &mut Option<R>, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(read) if take(&buffer[..read]) => {}
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => *pipe = None,
        }
    }
}

#[cfg(test)]
mod tests;
