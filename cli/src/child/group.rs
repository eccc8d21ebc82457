//! A child process and the process group it leads.

use std::{
    fmt,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, OwnedFd},
    process::ExitStatus,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::waitpid,
    },
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::{
    child::{
        guard::Guard,
        recipe::{Manner, Recipe, SpawnError, Stream, exit_status},
    },
    term::reason,
};

/// The leader of a process group that hasn't been waited for: as long as this lives the group keeps its number, and a signal can't
/// hit another process. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Leader {
    group: Pid,
    exit: OwnedFd,
    guard: Guard,
    is_reaped: bool,
}

/// What a command gets besides its pipes.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stderr,
    /// Ends it if we are killed.
    pub(crate) guard: Guard,
}

/// Our ends of a command's pipes, which don't block.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: PipeWriter,
    /// `None` unless it is [`Stdout::Pipe`].
    pub(crate) stdout: Option<PipeReader>,
    /// `None` unless it is [`Stderr::Pipe`].
    pub(crate) stderr: Option<PipeReader>,
}

/// Why a command can't be run.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Its pipes can't be made. Nothing has run.
    Pipes(io::Error),
    /// It didn't start. Nothing has run.
    NotStarted(SpawnError),
    /// It started, can't be watched, and was killed.
    Killed(io::Error),
}

/// Where its standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdout {
    Pipe,
    /// It shares ours.
    Inherit,
}

/// Where its standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    Pipe,
    /// It shares ours.
    Inherit,
    /// /dev/null.
    Null,
}

impl Leader {
    /// Starts a command as the leader of a new process group.
    pub(crate) fn start(mut recipe: Recipe, surroundings: &Surroundings) -> Result<(Self, Pipes), StartError> {
        let pipes = Pipes::make(&mut recipe, surroundings).map_err(StartError::Pipes)?;
        let group = recipe.start(Manner::OnItsOwn).map_err(StartError::NotStarted)?;
        let leader = Self::watch(group, &surroundings.guard).map_err(StartError::Killed)?;
        Ok((leader, pipes))
    }

    fn watch(group: Pid, guard: &Guard) -> io::Result<Self> {
        guard.watch(group);
        let number = rustix::process::Pid::from_raw(group.as_raw());
        let number = number.ok_or_else(|| io::Error::other("a process without a number"))?;
        let exit = pidfd_open(number, PidfdFlags::empty()).inspect_err(|_| {
            let _ = killpg(group, Signal::SIGKILL);
            guard.forget(group);
            let _ = await_end(group);
        })?;
        Ok(Self { group, exit, guard: guard.clone(), is_reaped: false })
    }

    /// Signals the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = killpg(self.group, signal); // ESRCH: the group is gone, which is the aim
    }

    /// Asks the whole group to end. A stopped process receives TERM only once it continues.
    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Kills what is left of the group, and waits for the leader.
    pub(crate) fn reap(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    /// Becomes readable when the leader has ended.
    pub(crate) fn exit(&self) -> &OwnedFd {
        &self.exit
    }

    /// As [`Leader::reap`], in place: it must not be used again.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.guard.forget(self.group);
        self.is_reaped = true;
        await_end(self.group)
    }
}

impl Pipes {
    /// Gives a command pipes for its standard streams, and keeps our ends.
    fn make(recipe: &mut Recipe, surroundings: &Surroundings) -> io::Result<Self> {
        let (its_stdin, stdin) = io::pipe()?;
        let (stdout, its_stdout) = match surroundings.stdout {
            Stdout::Pipe => io::pipe().map(|(ours, its)| (Some(ours), Stream::Is(its.into())))?,
            Stdout::Inherit => (None, Stream::Inherit),
        };
        let (stderr, its_stderr) = match surroundings.stderr {
            Stderr::Pipe => io::pipe().map(|(ours, its)| (Some(ours), Stream::Is(its.into())))?,
            Stderr::Inherit => (None, Stream::Inherit),
            Stderr::Null => (None, Stream::Null),
        };
        non_blocking(&stdin)?;
        stdout.as_ref().map_or(Ok(()), non_blocking)?;
        stderr.as_ref().map_or(Ok(()), non_blocking)?;
        recipe.streams([Stream::Is(its_stdin.into()), its_stdout, its_stderr]);
        Ok(Self { stdin, stdout, stderr })
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = self.end();
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipes(error) => write!(f, "cannot make its pipes: {}", reason(error)),
            Self::NotStarted(error) => error.fmt(f),
            Self::Killed(error) => write!(f, "cannot watch it: {}", reason(error)),
        }
    }
}

fn await_end(pid: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(pid, None) {
            Ok(status) => {
                if let Some((_, status)) = exit_status(status) {
                    return Ok(status);
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Affects our end alone: the child's end is another open file description and goes on blocking.
fn non_blocking(pipe: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(pipe, true)?)
}
