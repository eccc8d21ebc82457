//! How `ipcctl` ends.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::{SigSet, Signal, raise};

/// The end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With an exit code.
    Code(u8),
    /// Because of a signal: the shell sees 128 + its number.
    Signal(Signal),
}

impl Exit {
    /// All went well.
    pub(crate) const SUCCESS: Self = Self::Code(0);
    /// The reader of standard output has gone: what the shell reports for a process that SIGPIPE killed.
    pub(crate) const BROKEN_PIPE: Self = Self::Code(141);

    /// The same end as that of a command.
    pub(crate) fn of(status: ExitStatus) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let signal = status.signal();
        match (code, signal.map(Signal::try_from)) {
            (Some(code), _) => Self::Code(code),
            (None, Some(Ok(signal))) => Self::Signal(signal),
            (None, _) => Self::Code(signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(125)),
        }
    }

    /// The exit code as the shell sees it in `$?`.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
        }
    }

    /// Ends the process at once: the kernel closes what is open, quicker than any destructor.
    ///
    /// After SIGINT the process dies of the signal itself. A shell looks at that to tell "the user pressed Ctrl-C" from "the
    /// command dealt with Ctrl-C" and only then ends its loop; `$?` is 130 either way.
    pub(crate) fn leave(self) -> ! {
        if self == Self::Signal(Signal::SIGINT) {
            // Should the signal not end us (its disposition is "ignore"), the exit code below says the same.
            let _ = SigSet::from(Signal::SIGINT).thread_unblock();
            let _ = raise(Signal::SIGINT);
        }
        std::process::exit(i32::from(self.code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_is_that_of_the_command() {
        assert_eq!(Exit::of(ExitStatus::from_raw(3 << 8)), Exit::Code(3));
        assert_eq!(Exit::of(ExitStatus::from_raw(15)), Exit::Signal(Signal::SIGTERM));
        assert_eq!(Exit::of(ExitStatus::from_raw(40)), Exit::Code(168));
    }

    #[test]
    fn a_signal_counts_from_128() {
        assert_eq!(Exit::Signal(Signal::SIGTERM).code(), 143);
        assert_eq!(Exit::Signal(Signal::SIGINT).code(), 130);
        assert_eq!(Exit::Code(68).code(), 68);
    }
}
