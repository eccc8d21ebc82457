//! Connections: a socket, what was read of it, what is still to be written.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_protocol::transport::{Inbox, Outbox};

use super::poller::Interest;
use crate::core::{Moment, PeerId};

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: PeerId,
    pub(crate) socket: OwnedFd,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    /// What the poller watches for.
    pub(crate) interest: Interest,
    pub(crate) reading: Reading,
    /// Whether it stands in the list of connections to flush.
    pub(crate) dirty: bool,
    /// Since when a frame has begun and is not complete, or has waited for room.
    pub(crate) mid_frame_since: Option<Moment>,
    /// Whether it stands in the queue of frame deadlines.
    pub(crate) on_clock: bool,
}

/// Whether more is read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Yes.
    Open,
    /// Not now: a frame of so many bytes has begun, and its user's quota has no room for it.
    Parked(usize),
    /// No: the other side has finished sending.
    Ended,
}

/// All connections, each at the place that its peer has in the router's table.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    places: Vec<Option<Box<Connection>>>,
}

impl Connection {
    pub(crate) fn new(id: PeerId, socket: OwnedFd, max_body: u32) -> Self {
        Self {
            id,
            socket,
            inbox: Inbox::new(max_body),
            outbox: Outbox::new(),
            interest: Interest::READ,
            reading: Reading::Open,
            dirty: false,
            mid_frame_since: None,
            on_clock: false,
        }
    }

    /// Puts it into the list of connections to flush, once.
    pub(crate) fn mark_dirty(&mut self, dirty: &mut Vec<PeerId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(self.id);
        }
    }

    /// What the poller should watch for.
    pub(crate) fn wanted(&self) -> Interest {
        Interest { read: self.reading == Reading::Open, write: !self.outbox.is_empty() }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connections {
    pub(crate) fn insert(&mut self, connection: Connection) {
        let index = connection.id.index();
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(Box::new(connection));
        }
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Connection> {
        self.places.get_mut(id.index())?.as_deref_mut().filter(|connection| connection.id == id)
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Connection> {
        self.get_mut(id)?;
        self.places.get_mut(id.index())?.take().map(|connection| *connection)
    }
}
