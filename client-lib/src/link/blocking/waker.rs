//! How a waiting thread is woken.

use std::{
    io,
    os::fd::BorrowedFd,
    thread::{self, Thread},
    time::Instant,
};

use ipc_protocol::transport::{
    Bell,
    poll::{self, PollFd, PollFlags},
};

/// Wakes one waiting thread. A wake-up that comes before the wait ends it at once, so none is lost.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    /// A thread that is parked.
    Thread(Thread),
    /// A thread that waits in poll(2), because it waits for a descriptor too.
    Bell(Bell),
}

impl Waker {
    /// The waker of this thread.
    ///
    /// # Errors
    /// What eventfd(2) says, for a thread that also waits for `interrupt`.
    pub(crate) fn of_this_thread(interrupt: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        match interrupt {
            None => Ok(Self::Thread(thread::current())),
            Some(_) => Bell::new().map(Self::Bell),
        }
    }

    /// Ends the wait.
    pub(crate) fn wake(&self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Bell(bell) => bell.ring(),
        }
    }

    /// Waits until woken, until `interrupt` is readable, or until the time has come; it may end for no reason, too. Tells whether
    /// it was the interrupt.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(crate) fn sleep(&self, until: Instant, interrupt: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        match (self, interrupt) {
            (Self::Bell(bell), Some(interrupt)) => {
                let mut fds = [PollFd::new(bell, PollFlags::IN), PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
                poll::wait(&mut fds, Some(until))?;
                Ok(!fds[1].revents().is_empty())
            }
            _ => {
                thread::park_timeout(until.saturating_duration_since(Instant::now()));
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::{fd::AsFd, unix::net::UnixStream},
        time::Duration,
    };

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost() {
        let (silent, _other) = UnixStream::pair().unwrap();
        let waker = Waker::of_this_thread(Some(silent.as_fd())).unwrap();
        waker.clone().wake();
        assert!(!waker.sleep(soon(), Some(silent.as_fd())).unwrap());
    }

    #[test]
    fn a_readable_descriptor_is_an_interrupt() {
        let (readable, other) = UnixStream::pair().unwrap();
        drop(other);
        let waker = Waker::of_this_thread(Some(readable.as_fd())).unwrap();
        assert!(waker.sleep(soon(), Some(readable.as_fd())).unwrap());
    }
}
