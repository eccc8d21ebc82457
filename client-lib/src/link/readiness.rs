//! One descriptor for all that a program's own loop waits for on behalf of this library.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use ipc_protocol::transport::poll::PollFlags;
use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
};

use super::blocking::Connection;
use crate::error::{Error, Result};

/// An epoll instance. It is readable when one of its descriptors is, or the socket of the connection that it follows.
#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: Arc<OwnedFd>,
    followed: Option<(Arc<Connection>, PollFlags)>,
}

impl Readiness {
    /// An empty one.
    ///
    /// # Errors
    /// `internal` if the system has no descriptor left, as for all here.
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(no_epoll)?;
        Ok(Self { epoll: Arc::new(epoll), followed: None })
    }

    /// Tells of a descriptor as long as it is readable.
    pub(crate) fn add(&self, fd: impl AsFd) -> Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(0), EventFlags::IN).map_err(no_epoll)
    }

    /// Tells of a descriptor once, when it has become readable.
    pub(crate) fn add_edge(&self, fd: impl AsFd) -> Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(0), EventFlags::IN | EventFlags::ET).map_err(no_epoll)
    }

    /// Takes the edges out, or it would stay readable for them.
    pub(crate) fn take_edges(&self) {
        let mut events = Vec::with_capacity(4);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)); // what is there, its owner finds
    }

    /// From now on tells of this connection, and of none before.
    pub(crate) fn follow(&mut self, connection: Option<&Arc<Connection>>) -> Result<()> {
        let now = connection.map(|connection| (connection.clone(), connection.interest().1));
        let is_same = |one: &Arc<Connection>, other: &Arc<Connection>| Arc::ptr_eq(one, other);
        let changed = match (&self.followed, &now) {
            (None, None) => Ok(()),
            (Some((old, flags)), Some((new, wanted))) if is_same(old, new) && flags == wanted => Ok(()),
            (Some((old, _)), Some((new, wanted))) if is_same(old, new) => {
                epoll::modify(&self.epoll, new.interest().0, EventData::new_u64(0), to_epoll(*wanted))
            }
            (old, new) => {
                if let Some((old, _)) = old {
                    let _ = epoll::delete(&self.epoll, old.interest().0); // it goes with its descriptor anyway
                }
                let add = |(new, wanted): &(Arc<Connection>, PollFlags)| {
                    epoll::add(&self.epoll, new.interest().0, EventData::new_u64(0), to_epoll(*wanted))
                };
                new.as_ref().map_or(Ok(()), add)
            }
        };
        self.followed = now;
        changed.map_err(no_epoll)
    }

    /// The descriptor, for an owner of its own.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        self.epoll.clone()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn to_epoll(interest: PollFlags) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.contains(PollFlags::IN));
    flags.set(EventFlags::OUT, interest.contains(PollFlags::OUT));
    flags
}

fn no_epoll(error: Errno) -> Error {
    Error::host("make an epoll instance", error.into())
}
