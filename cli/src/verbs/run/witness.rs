//! Tells a signal to our whole process group from one to us alone.
//!
//! The command is in our group, so what a shell's `kill %1` or a key on the terminal sends to the group reaches it without us, and
//! passing it on would double it. A signal doesn't say how it was addressed. So there is one more process in the group, which
//! blocks every signal: what is pending there (`ShdPnd`, proc_pid_status(5)) was sent to the group.

use std::{
    fs,
    io::{self, PipeWriter},
    os::fd::OwnedFd,
};

use nix::{sys::signal::Signal, sys::wait::waitpid, unistd::Pid};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::child::{
    guard,
    recipe::{Manner, Recipe, Stream},
};

/// A process that shows signals to the group.
#[derive(Debug)]
pub(crate) struct Witness(Option<Process>);

#[derive(Debug)]
struct Process {
    pid: Pid,
    handle: OwnedFd,
    /// The process ends when this is closed, however we die.
    _life: PipeWriter,
}

impl Witness {
    /// Starts one, if that is possible.
    pub(crate) fn start() -> Self {
        Self(Process::start().ok())
    }

    /// Whether a signal that we have received was sent to the whole group. kill(2) goes through a group from the youngest process to
    /// the oldest, so the signal is pending there before it reaches us.
    pub(crate) fn has_seen(&mut self, signal: Signal) -> bool {
        let has_seen = self.0.as_ref().is_some_and(|process| process.has_pending(signal));
        if has_seen {
            *self = Self::start(); // the next one may be for us alone
        }
        has_seen
    }
}

impl Process {
    fn start() -> io::Result<Self> {
        let (its_life, life) = io::pipe()?;
        let mut recipe = Recipe::new(guard::PROGRAM, vec![guard::NAME.into()]);
        recipe.streams([Stream::Is(its_life.into()), Stream::Null, Stream::Null]);
        let pid = recipe.start(Manner::DeafInOurGroup).map_err(io::Error::other)?;
        let number = rustix::process::Pid::from_raw(pid.as_raw());
        let number = number.ok_or_else(|| io::Error::other("a process without a number"))?;
        let handle = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Self { pid, handle, _life: life })
    }

    fn has_pending(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("ShdPnd:")?.trim(), 16).ok());
        mask.unwrap_or(0) >> (signal as u32 - 1) & 1 == 1
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.handle, rustix::process::Signal::KILL);
        let _ = waitpid(self.pid, None); // fails if it was killed before, and waited for with the other children
    }
}
