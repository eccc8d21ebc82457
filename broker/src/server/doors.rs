//! The door for connections: accepts, and keeps a descriptor in reserve so that it can refuse politely when there are none left.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use ipc_protocol::{ErrorCode, Goodbye, Message};
use rustix::{
    io::Errno,
    net::{SendFlags, SocketFlags, accept_with, send},
};

/// What came through the door.
#[derive(Debug)]
pub(crate) enum Visitor {
    /// A connection.
    Accepted(OwnedFd),
    /// Nobody more waits.
    Nobody,
    /// The process has no descriptor left: one caller was told so, the others wait until one is free.
    NoDescriptors,
}

/// The listening stream socket.
#[derive(Debug)]
pub(crate) struct Door {
    listener: OwnedFd,
    reserve: Option<File>,
}

impl Door {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, reserve: reserve() }
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// What accept4(2) says, other than that nobody is there or no descriptor is free.
    pub(crate) fn accept(&mut self) -> io::Result<Visitor> {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Ok(Visitor::Accepted(socket)),
                Err(Errno::AGAIN) => return Ok(Visitor::Nobody),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) => return Ok(self.refuse_one()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the reserve up for a moment, so that one caller hears why instead of waiting in the backlog.
    fn refuse_one(&mut self) -> Visitor {
        self.reserve = None;
        if let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let text = "the broker has no descriptor left for another connection; try again later".to_owned();
            say_goodbye(socket.as_fd(), Goodbye { code: ErrorCode::BUSY, text });
        }
        self.reserve = reserve();
        Visitor::NoDescriptors
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Sends a goodbye to somebody whose connection is closed right after. Whoever does not take it at once does without.
pub(crate) fn say_goodbye(socket: BorrowedFd<'_>, goodbye: Goodbye) {
    let _ = send(socket, &Message::Goodbye(goodbye).to_vec(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
