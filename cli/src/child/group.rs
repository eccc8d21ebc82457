//! A child process and the process group it leads.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open};

/// The leader of a process group, not waited for yet: as long as this lives, the number of the group belongs to it, and a signal
/// cannot hit a stranger. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Leader {
    child: Child,
    group: Pid,
    exit: OwnedFd,
    is_reaped: bool,
}

impl Leader {
    /// Starts a command as the leader of a new process group. Its signal mask is empty: std sees to that.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let number = rustix::process::Pid::from_child(&child);
        let exit = pidfd_open(number, PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        Ok(Self { group: Pid::from_raw(number.as_raw_nonzero().get()), child, exit, is_reaped: false })
    }

    /// Takes the pipe to its standard input, non-blocking.
    pub(crate) fn take_stdin(&mut self) -> io::Result<Option<ChildStdin>> {
        self.child.stdin.take().map(non_blocking).transpose()
    }

    /// Takes the pipe from its standard output, non-blocking.
    pub(crate) fn take_stdout(&mut self) -> io::Result<Option<ChildStdout>> {
        self.child.stdout.take().map(non_blocking).transpose()
    }

    /// Takes the pipe from its standard error, non-blocking.
    pub(crate) fn take_stderr(&mut self) -> io::Result<Option<ChildStderr>> {
        self.child.stderr.take().map(non_blocking).transpose()
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            let _ = killpg(self.group, signal); // ESRCH: nobody is left, which is what signals are sent for here
        }
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
        self.child.wait()
    }
}

impl AsFd for Leader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = self.end();
        }
    }
}

/// Our end of a pipe alone: the child's end is another open file description and stays blocking.
fn non_blocking<T: AsFd>(pipe: T) -> io::Result<T> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe)
}
