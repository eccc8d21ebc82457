//! What a connection reads and writes: a socket, or an end of a channel.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use ipc_protocol::transport::{Inbox, ReadBuffer, Received};

use super::{channel, socket};
use crate::session::Session;

pub(crate) enum Wire {
    Socket(OwnedFd),
    Channel(channel::End),
}

impl Wire {
    /// Writes until everything is written or it takes no more.
    ///
    /// # Errors
    /// What send(2) says; `BrokenPipe`.
    pub(super) fn transmit(&self, session: &mut Session) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket::transmit(socket.as_fd(), session),
            Self::Channel(end) => end.transmit(session),
        }
    }

    /// Reads once.
    ///
    /// # Errors
    /// As [`Inbox::read`].
    pub(super) fn read(&self, inbox: &mut Inbox, buffer: &mut ReadBuffer) -> io::Result<Received> {
        match self {
            Self::Socket(socket) => inbox.read(socket.as_fd(), buffer),
            Self::Channel(end) => Ok(end.read(inbox)),
        }
    }

    /// When a wait for it has to end, at the latest at `until`.
    pub(super) fn until(&self, until: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Socket(_) => until,
            Self::Channel(end) => end.until(until),
        }
    }

    /// Whether to read although it isn't readable.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            Self::Channel(end) => end.is_due(),
        }
    }

    /// Ends it for both sides. A thread that is in poll(2) on it is woken.
    pub(super) fn shut_down(&self) {
        match self {
            Self::Socket(socket) => socket::shut_down(socket.as_fd()),
            Self::Channel(end) => end.close(),
        }
    }
}

/// Readable when there is something to read, or it has ended.
impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Channel(end) => end.as_fd(),
        }
    }
}
