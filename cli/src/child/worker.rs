//! A command that stays (`ipcctl serve --lines`): for each call a line goes in and a line comes out. Owned by its
//! [`keeper`](super::keeper).

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    os::fd::OwnedFd,
    process::ExitStatus,
    time::{Duration, Instant},
};

use ipc_client::{Bell, limits::MAX_BODY};

use crate::child::{
    GRACE, Interest,
    group::{Leader, Pipes, StartError, Surroundings},
    job::{Stop, drain},
    ready,
    recipe::Recipe,
};

/// A call for a worker.
pub(crate) struct Order {
    /// Without its line break.
    pub(crate) line: Vec<u8>,
    /// Rings when the caller stops waiting.
    pub(crate) cancel: Bell,
    pub(crate) until: Option<Instant>,
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    leader: Leader,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    /// Output after the last line.
    said: Vec<u8>,
    started: Instant,
    has_answered: bool,
}

/// How the work on one line ended.
pub(crate) enum Exchange {
    /// With an answer.
    Line(Vec<u8>),
    /// The worker wrote more than one line, or wrote before it had read its input. Its lines can't be matched with calls any more.
    Unasked,
    /// The worker died before it read any of the line.
    DiedBefore,
    /// The worker died, or closed its output.
    Died,
    /// Time ran out after the worker had read the line, and before it wrote anything.
    Silent,
    /// The worker must be ended.
    Stopped(Stop),
}

impl Worker {
    /// Starts the command.
    pub(crate) fn start(recipe: Recipe, surroundings: &Surroundings) -> Result<Self, StartError> {
        let (leader, Pipes { stdin, stdout, .. }) = Leader::start(recipe, surroundings)?;
        Ok(Self { leader, stdin: Some(stdin), stdout, said: Vec::new(), started: Instant::now(), has_answered: false })
    }

    /// Becomes readable when it has died.
    pub(crate) fn exit(&self) -> &OwnedFd {
        self.leader.exit()
    }

    /// Whether it has answered a call.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives it the line and waits for one.
    pub(crate) fn exchange(&mut self, order: &Order, quit: &Bell) -> io::Result<Exchange> {
        let line = [&order.line, &b"\n"[..]].concat();
        let mut sending = Sending { unsent: &line, written: 0 };
        // A worker that has closed its output can't answer any more. Its exit gets some time to follow, so that the error can name it.
        let mut mute_until = None;
        loop {
            let stdin = self.stdin.as_ref().filter(|_| !sending.unsent.is_empty());
            let watched = [
                (stdin.map(|pipe| pipe as _), Interest::Write),
                (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
                (Some(self.leader.exit() as _), Interest::Read),
                (Some(&order.cancel as _), Interest::Read),
                (Some(quit as _), Interest::Read),
            ];
            let until = order.until.into_iter().chain(mute_until).min();
            let [writable, _, exited, cancelled, quit] = ready(watched, until)?;
            if let Some(stdin) = self.stdin.as_mut().filter(|_| writable) {
                sending.write_to(stdin);
            }
            // An answer written just before death counts.
            if let Some(line) = self.read_line() {
                return Ok(self.answer(line, &sending));
            }
            let now = Instant::now();
            if self.stdout.is_none() {
                mute_until.get_or_insert(now + GRACE);
            }
            if exited || mute_until.is_some_and(|until| until <= now) {
                return Ok(if self.unread() == sending.written { Exchange::DiedBefore } else { Exchange::Died });
            }
            if self.said.len() > MAX_BODY as usize {
                return Ok(Exchange::Stopped(Stop::TooMuch));
            }
            if cancelled {
                return Ok(Exchange::Stopped(Stop::Cancelled));
            }
            if quit {
                return Ok(Exchange::Stopped(Stop::Quit));
            }
            if order.until.is_some_and(|until| until <= now) {
                return Ok(self.late(&sending));
            }
        }
    }

    fn answer(&mut self, line: Vec<u8>, sending: &Sending<'_>) -> Exchange {
        let is_its_answer = sending.unsent.is_empty() && self.unread() == 0 && !self.is_out_of_step();
        self.has_answered |= is_its_answer;
        if is_its_answer { Exchange::Line(line) } else { Exchange::Unasked }
    }

    fn late(&self, sending: &Sending<'_>) -> Exchange {
        let has_read_it = sending.unsent.is_empty() && self.unread() == 0;
        if has_read_it && self.said.is_empty() { Exchange::Silent } else { Exchange::Stopped(Stop::OutOfTime) }
    }

    /// Bytes that it has left in the pipe, which its death doesn't change.
    fn unread(&self) -> u64 {
        self.stdin.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok()).unwrap_or(0)
    }

    /// Reads what is in the pipe and returns the first line, without its line break.
    fn read_line(&mut self) -> Option<Vec<u8>> {
        let said = &mut self.said;
        drain(&mut self.stdout, |bytes| {
            said.extend_from_slice(bytes);
            said.len() <= MAX_BODY as usize
        });
        let end = self.said.iter().position(|byte| *byte == b'\n').filter(|end| *end <= MAX_BODY as usize)?;
        let rest = self.said.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.said, rest);
        line.pop();
        Some(line)
    }

    /// Whether it has written something that no call waits for.
    pub(crate) fn is_out_of_step(&mut self) -> bool {
        let said = &mut self.said;
        drain(&mut self.stdout, |bytes| {
            said.extend_from_slice(bytes);
            false
        });
        !self.said.is_empty()
    }

    /// Reaps one that has died.
    pub(crate) fn reap(self) -> io::Result<ExitStatus> {
        self.leader.reap()
    }

    /// Ends it: TERM to its group, then KILL.
    pub(crate) fn end(mut self) {
        self.stdin = None;
        self.leader.ask_to_end();
        self.await_exit();
        let _ = self.leader.reap(); // how it ends doesn't matter
    }

    /// Lets it end by itself, at the end of its input.
    pub(crate) fn retire(mut self) {
        self.stdin = None;
        if !self.await_exit() {
            self.end();
        }
    }

    fn await_exit(&self) -> bool {
        matches!(ready([(Some(self.leader.exit() as _), Interest::Read)], Some(Instant::now() + GRACE)), Ok([true]))
    }
}

/// A line on its way into a pipe.
struct Sending<'a> {
    unsent: &'a [u8],
    written: u64,
}

impl Sending<'_> {
    /// Writes as much as the pipe takes. A worker that has closed the pipe may still answer.
    fn write_to(&mut self, pipe: &mut PipeWriter) {
        match pipe.write(self.unsent) {
            Ok(written) => {
                self.unsent = &self.unsent[written..];
                self.written += written as u64;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.unsent = &[],
        }
    }
}
