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

use crate::child::recipe::{Manner, Recipe, SpawnError, Stream, exit_status};

/// The leader of a process group, not waited for yet: as long as this lives, the number of the group belongs to it, and a signal
/// cannot hit a stranger. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Leader {
    group: Pid,
    exit: OwnedFd,
    is_reaped: bool,
}

/// A leader that has just been started, and our ends of its pipes, non-blocking.
#[derive(Debug)]
pub(crate) struct Started {
    /// The process.
    pub(crate) leader: Leader,
    /// Its standard input.
    pub(crate) stdin: PipeWriter,
    /// Its standard output.
    pub(crate) stdout: PipeReader,
    /// Its standard error, if that is a pipe.
    pub(crate) stderr: Option<PipeReader>,
}

/// Why there is no leader.
#[derive(Debug)]
pub(crate) enum StartError {
    /// There are no pipes for it: nothing has run.
    Pipes(io::Error),
    /// It did not start: nothing has run.
    NotStarted(SpawnError),
    /// It could not be watched, and was killed.
    Killed(io::Error),
}

/// Where its standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// Into a pipe.
    Pipe,
    /// To ours.
    Inherit,
    /// Nowhere.
    Null,
}

impl Leader {
    /// Starts a command as the leader of a new process group.
    pub(crate) fn start(mut recipe: Recipe, stderr: Stderr) -> Result<Started, StartError> {
        let pipes = Self::pipes(&mut recipe, stderr).map_err(StartError::Pipes)?;
        let group = recipe.start(Manner::OnItsOwn).map_err(StartError::NotStarted)?;
        let leader = Self::watch(group).map_err(StartError::Killed)?;
        let (stdin, stdout, stderr) = pipes;
        Ok(Started { leader, stdin, stdout, stderr })
    }

    /// Gives a command pipes for its standard streams, and keeps our ends.
    fn pipes(recipe: &mut Recipe, stderr: Stderr) -> io::Result<(PipeWriter, PipeReader, Option<PipeReader>)> {
        let (its_stdin, stdin) = io::pipe()?;
        let (stdout, its_stdout) = io::pipe()?;
        let (stderr, its_stderr) = match stderr {
            Stderr::Pipe => io::pipe().map(|(ours, its)| (Some(ours), Stream::Is(its.into())))?,
            Stderr::Inherit => (None, Stream::Inherit),
            Stderr::Null => (None, Stream::Null),
        };
        non_blocking(&stdin)?;
        non_blocking(&stdout)?;
        stderr.as_ref().map_or(Ok(()), non_blocking)?;
        recipe.streams([Stream::Is(its_stdin.into()), Stream::Is(its_stdout.into()), its_stderr]);
        Ok((stdin, stdout, stderr))
    }

    fn watch(group: Pid) -> io::Result<Self> {
        let number = rustix::process::Pid::from_raw(group.as_raw());
        let number = number.ok_or_else(|| io::Error::other("a process without a number"))?;
        let exit = pidfd_open(number, PidfdFlags::empty()).inspect_err(|_| {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = await_end(group);
        })?;
        Ok(Self { group, exit, is_reaped: false })
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = killpg(self.group, signal); // ESRCH: nobody is left, which is what signals are sent for here
    }

    /// Asks the whole group to end. A stopped process gets TERM only when it goes on.
    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Kills what is left of the group, and waits for the leader.
    pub(crate) fn reap(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    /// A descriptor that becomes readable when the leader has ended.
    pub(crate) fn exit(&self) -> &OwnedFd {
        &self.exit
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.is_reaped = true;
        await_end(self.group)
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
            Self::Pipes(error) => write!(f, "cannot make its pipes: {error}"),
            Self::NotStarted(error) => error.fmt(f),
            Self::Killed(error) => write!(f, "cannot watch it: {error}"),
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

/// Our end of a pipe alone: the child's end is another open file description and stays blocking.
fn non_blocking(pipe: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(pipe, true)?)
}
