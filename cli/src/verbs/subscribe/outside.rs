//! What ends a subscriber from outside: a signal, the time, the end of its private broker, a reader that goes.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use ipc_client::poll::{self, PollFd, PollFlags};
use nix::sys::signal::Signal;

use crate::signals::Signals;

/// What is looked at in each wait.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) signals: Signals,
    /// The process that runs our private broker.
    pub(super) host: Option<OwnedFd>,
    /// When the time that the user gave is over.
    pub(super) until: Option<Instant>,
}

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Signal(Signal),
    /// The private broker is gone.
    Host,
    Time,
}

impl Outside {
    /// Waits until one of `awaited` is ready, or something ends it all. `at_most` ends the wait alone.
    pub(super) fn wait(
        &self,
        awaited: &[(BorrowedFd<'_>, PollFlags)],
        at_most: Option<Instant>,
    ) -> io::Result<(Vec<PollFlags>, Option<End>)> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(self.host.as_ref().map(|host| PollFd::new(host, PollFlags::IN)));
        let own = fds.len();
        fds.extend(awaited.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd.as_fd(), *flags)));
        poll::wait(&mut fds, self.until.into_iter().chain(at_most).min())?;
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let (own, awaited) = ready.split_at(own);
        let is_host_gone = own.get(1).is_some_and(|host| !host.is_empty());
        let end = match self.signals.take() {
            Some(arrived) => Some(End::Signal(arrived.signal)),
            None if is_host_gone => Some(End::Host),
            None => self.is_over().then_some(End::Time),
        };
        Ok((awaited.to_vec(), end))
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}
