//! One run of a command: the body goes in at standard input, the reply comes out at standard output.
//!
//! ```text
//!            body ─► stdin ┌─────────┐ stdout ─► reply
//!                          │ command │ stderr ─► log, and the tail of it for an error
//!  cancel, deadline ─TERM► └─────────┘
//!                    500 ms later KILL, to the whole process group
//! ```
//!
//! One poll watches all four ends, so a command may read late, write early, do both at once, or neither. After it exits, its
//! standard output is read until it ends or falls silent: a filter that the command put behind itself (`exec > >(tr a-z A-Z)`) exits
//! a moment later. A grandchild that keeps the pipe open without writing delays the reply by that moment, and is then killed.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    process::ExitStatus,
    time::{Duration, Instant},
};

use ipc_client::{Bell, limits::MAX_BODY};
use nix::sys::signal::Signal;

use crate::child::{
    GRACE, Interest,
    group::{Leader, Pipes, StartError, Stderr, Stdout, Surroundings},
    guard::Guard,
    log::Log,
    ready,
    recipe::Recipe,
    tail::Tail,
};

/// Why we ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The caller stopped waiting.
    Cancelled,
    /// The deadline of the call has passed, or the command's own time.
    OutOfTime,
    /// The output is longer than a reply can be.
    TooMuch,
    /// The service is ending.
    Quit,
}

/// What ends a run early.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    /// Rings when the caller stops waiting.
    pub(crate) cancel: &'a Bell,
    /// Rings when the service must end at once.
    pub(crate) quit: &'a Bell,
    pub(crate) until: Option<Instant>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// `None` if the command ended by itself.
    pub(crate) stop: Option<Stop>,
    /// What it wrote to standard output.
    pub(crate) reply: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub(crate) complaint: String,
}

/// A run that hasn't ended.
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
    /// Set once the command has exited, while more output may come.
    linger: Option<Linger>,
    stop: Option<Stopping>,
}

/// The time after a command exits in which others may still write to its standard output.
#[derive(Clone, Copy, Debug)]
struct Linger {
    began: Instant,
    last_output: Instant,
}

/// A run that we are ending.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    reason: Stop,
    kill_at: Option<Instant>, // None: it has been killed
}

impl Linger {
    fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, last_output: now }
    }

    fn until(self) -> Instant {
        (self.last_output + SILENCE).min(self.began + LONGEST_LINGER)
    }
}

impl<'a> Job<'a> {
    /// Starts a command with `body` as its standard input.
    pub(crate) fn start(recipe: Recipe, body: &'a [u8], guard: &Guard, log: Log) -> Result<Self, StartError> {
        let surroundings = Surroundings { stdout: Stdout::Pipe, stderr: Stderr::Pipe, guard: guard.clone() };
        Self::start_in(&surroundings, recipe, body, log)
    }

    /// As [`Job::start`], with its output where `surroundings` says.
    pub(crate) fn start_in(
        surroundings: &Surroundings,
        recipe: Recipe,
        body: &'a [u8],
        log: Log,
    ) -> Result<Self, StartError> {
        let (leader, Pipes { stdin, stdout, stderr }) = Leader::start(recipe, surroundings)?;
        Ok(Self {
            leader,
            stdin: Some(stdin),
            stdout,
            stderr,
            unsent: body,
            reply: Vec::new(),
            complaint: Tail::default(),
            log,
            linger: None,
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

    /// A command that exits by itself is over when its output ends or has been silent for a while. After one that we ended, the rest
    /// of its group may use the grace time: a process that holds a pipe open is cleaning up.
    fn is_over(&self) -> bool {
        let is_closed = self.stdout.is_none() && self.stderr.is_none();
        match (self.linger, self.stop) {
            (None, _) => false,
            (Some(linger), None) => self.stdout.is_none() || linger.until() <= Instant::now(),
            (Some(_), Some(stopping)) => is_closed || stopping.kill_at.is_none(),
        }
    }

    fn turn(&mut self, bounds: &Bounds<'_>) -> io::Result<()> {
        let is_stopping = self.stop.is_some();
        let until = match self.stop {
            Some(stopping) => stopping.kill_at,
            None => bounds.until.into_iter().chain(self.linger.map(Linger::until)).min(),
        };
        let watched = [
            (self.stdin.as_ref().map(|pipe| pipe as _), Interest::Write),
            (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
            (self.stderr.as_ref().map(|pipe| pipe as _), Interest::Read),
            (self.linger.is_none().then_some(self.leader.exit() as _), Interest::Read),
            ((!is_stopping).then_some(bounds.cancel as _), Interest::Read),
            ((!is_stopping).then_some(bounds.quit as _), Interest::Read),
        ];
        let [stdin, stdout, stderr, exited, cancelled, quit] = ready(watched, until)?;
        if stdin {
            self.feed();
        }
        if stdout || exited {
            self.drain_output();
        }
        if stderr {
            self.drain_complaint();
        }
        if exited {
            self.linger = Some(Linger::begin());
        }
        if let Some(linger) = self.linger.as_mut().filter(|_| stdout) {
            linger.last_output = Instant::now();
        }
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
            None if bounds.until.is_some_and(|until| until <= now) => self.end(Stop::OutOfTime),
            Some(Stopping { kill_at, .. }) if kill_at.is_some_and(|kill_at| kill_at <= now) => {
                *kill_at = None;
                self.leader.signal(Signal::SIGKILL);
            }
            None | Some(_) => {}
        }
    }

    /// Asks the whole group to end. If the command has completed its reply in the meantime, that counts.
    fn end(&mut self, reason: Stop) {
        let has_answered = self.linger.is_some() && self.stdout.is_none();
        if self.stop.is_none() && (!has_answered || reason == Stop::TooMuch) {
            self.leader.ask_to_end();
            self.stdin = None;
            self.stop = Some(Stopping { reason, kill_at: Some(Instant::now() + GRACE) });
        }
    }

    /// Writes as much of the body as the pipe takes. A command doesn't have to read it: EPIPE is as good as the end.
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

    /// Reads what is in the pipe, and drops it if we are ending the run.
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

/// How long standard output must be silent, after the command has exited, to count as complete.
const SILENCE: Duration = Duration::from_millis(250);
/// The limit for a grandchild that never falls silent.
const LONGEST_LINGER: Duration = Duration::from_secs(10);
/// Bytes read from standard error in one go: a command that floods it must not delay its own cancellation.
const DRAIN_BUDGET: usize = 1 << 20;

/// Reads a pipe until it is empty or at its end, or `take` has enough. Closes it at its end.
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
