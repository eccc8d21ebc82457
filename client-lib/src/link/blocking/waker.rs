//! How a waiting thread is woken.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    thread::{self, Thread},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd},
    io::Errno,
};

/// Wakes one waiting thread. A wake-up that comes before the wait ends it at once, so none is lost.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    /// A thread that is parked.
    Thread(Thread),
    /// A thread that waits in poll(2), because it waits for a descriptor too.
    Event(Arc<OwnedFd>),
}

impl Waker {
    /// The waker of this thread.
    ///
    /// # Errors
    /// What eventfd(2) says, for a thread that also waits for `interrupt`.
    pub(crate) fn of_this_thread(interrupt: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        match interrupt {
            None => Ok(Self::Thread(thread::current())),
            Some(_) => Ok(Self::Event(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))),
        }
    }

    /// Ends the wait.
    pub(crate) fn wake(&self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // A full counter is a wake-up that was not taken yet, so an error changes nothing.
            Self::Event(event) => drop(rustix::io::write(event, &1_u64.to_ne_bytes())),
        }
    }

    /// Waits until woken, until `interrupt` is readable, or until the time has come; it may end for no reason, too. Tells whether
    /// it was the interrupt.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(crate) fn sleep(&self, until: Instant, interrupt: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        match (self, interrupt) {
            (Self::Event(event), Some(interrupt)) => {
                let mut fds = [PollFd::new(event, PollFlags::IN), PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
                poll(&mut fds, Some(until))?;
                Ok(!fds[1].revents().is_empty())
            }
            _ => {
                thread::park_timeout(time_until(until));
                Ok(false)
            }
        }
    }
}

/// Waits for descriptors, until a time if there is one. A signal ends the wait early and without a result.
///
/// # Errors
/// What ppoll(2) says.
pub(crate) fn poll(fds: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = until.and_then(|until| Timespec::try_from(time_until(until)).ok());
    match rustix::event::poll(fds, left.as_ref()) {
        Ok(_) => Ok(()),
        Err(Errno::INTR) => {
            fds.iter_mut().for_each(PollFd::clear_revents);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn time_until(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixStream};

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
