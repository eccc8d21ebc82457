//! Signals as something to poll for: no handler, nothing asynchronous.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal},
    signalfd::{SfdFlags, SignalFd, siginfo},
};

/// Signals that are held back from this thread, and from those it starts, until they are taken from a descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    set: SigSet,
    before: SigSet,
    descriptor: SignalFd,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Which one.
    pub(crate) signal: Signal,
    /// Where from.
    pub(crate) origin: Origin,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The kernel, for a key pressed on the terminal: the whole foreground process group has got it.
    Terminal,
    /// A process: only we have got it.
    Process,
}

impl Signals {
    /// Holds `wanted` back, except those that our parent made us ignore: `nohup` and a shell's `&` ask for that, and a signal
    /// that is held back is delivered to the descriptor although it is ignored.
    pub(crate) fn hold(wanted: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let is_ignored = |signal: Signal| ignored >> (signal as u32 - 1) & 1 == 1;
        let set: SigSet = wanted.iter().copied().filter(|signal| !is_ignored(*signal)).collect();
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { set, before, descriptor })
    }

    /// Holds them back for the rest of the process, so that none that comes now replaces its exit code.
    pub(crate) fn keep_holding(self) {
        std::mem::forget(self);
    }

    /// What was held back before.
    pub(crate) fn mask_before(&self) -> SigSet {
        self.before
    }

    /// Refuses to go on where SIGCHLD is ignored (`trap '' CHLD`): the kernel throws away how a child ended, and there is no safe
    /// way to undo that here.
    pub(crate) fn require_sigchld() -> io::Result<()> {
        if ignored() >> (Signal::SIGCHLD as u32 - 1) & 1 == 1 {
            return Err(io::Error::other(
                "SIGCHLD is ignored here (trap '' CHLD?), so the end of a command would go unnoticed",
            ));
        }
        Ok(())
    }

    /// The next signal, if one has arrived.
    pub(crate) fn take(&self) -> Option<Arrived> {
        let siginfo { ssi_signo, ssi_code, .. } = self.descriptor.read_signal().ok().flatten()?;
        let signal = Signal::try_from(i32::try_from(ssi_signo).ok()?).ok()?;
        // sigaction(2): codes of a signal that a process sent are not positive; SI_KERNEL is.
        let origin = if ssi_code > 0 { Origin::Terminal } else { Origin::Process };
        Some(Arrived { signal, origin })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Signals that were held back and not taken are delivered now.
impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.set.thread_unblock();
    }
}

/// The signals this process ignores, as a mask. There is no safe way to ask sigaction(2); without /proc nothing counts as ignored.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status)
}

fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored_in("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001002\n"), 0x1002);
        assert_eq!(ignored_in(""), 0);
    }

    #[test]
    fn a_signal_is_taken_from_the_descriptor() {
        let signals = Signals::hold(&[Signal::SIGUSR1]).unwrap();
        assert_eq!(signals.take(), None);
        nix::sys::signal::raise(Signal::SIGUSR1).unwrap();
        assert_eq!(signals.take(), Some(Arrived { signal: Signal::SIGUSR1, origin: Origin::Process }));
    }
}
