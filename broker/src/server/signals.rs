//! Signals as descriptors: nothing runs in a signal handler.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// TERM or INT: the first drains, the second stops at once.
    Stop,
    /// HUP: read the configuration again.
    Reload,
}

/// TERM, INT and HUP of this process, as a descriptor. Create it before any thread, since threads inherit the mask that blocks them.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and opens a descriptor for them. SIGPIPE cannot occur, because all sends use MSG_NOSIGNAL.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3) and signalfd(2).
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// The next pending signal.
    pub(crate) fn next(&self) -> io::Result<Option<Request>> {
        const HUP: u32 = Signal::SIGHUP as u32;
        Ok(self.fd.read_signal()?.map(|signal| if signal.ssi_signo == HUP { Request::Reload } else { Request::Stop }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
