//! The datagram socket.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use bytes::Bytes;
use ipc_protocol::{
    Identity,
    limits::MAX_DATAGRAM,
    transport::{Rights, fd, poll},
    wire::Message,
};
use uds::{UnixDatagramExt, UnixSocketAddr};

use super::outlets::Fd;
use crate::core::{Precedence, ReturnAddress};

/// The result of one read.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A datagram, its sender, and where an answer can go.
    Datagram(Bytes, Identity, Option<ReturnAddress>),
    /// A datagram that was cut short, carried descriptors, or whose sender the kernel does not name.
    Malformed,
    /// The next datagram carries descriptors that the kernel hasn't refused. It is still there.
    Descriptors,
    /// The queue is empty.
    Nothing,
}

/// The datagram socket and its receive buffer.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UnixDatagram,
    buffer: Vec<u8>,
    rights: Rights,
}

impl Datagrams {
    pub(crate) fn new(socket: OwnedFd, rights: Rights) -> Self {
        Self { socket: socket.into(), buffer: Vec::new(), rights }
    }

    /// Receives one datagram.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub(crate) fn receive(&mut self) -> io::Result<Arrival> {
        if self.rights == Rights::Received {
            match fd::datagram_brings_descriptors(self.socket.as_fd())? {
                None => return Ok(Arrival::Nothing),
                Some(true) => return Ok(Arrival::Descriptors),
                Some(false) => {}
            }
        }
        self.buffer.resize(MAX_DATAGRAM, 0); // allocated by the first datagram, which most brokers never receive
        let Some(datagram) = fd::receive_datagram(self.socket.as_fd(), &mut self.buffer)? else {
            return Ok(Arrival::Nothing);
        };
        let Some((uid, gid, pid)) = datagram.sender.filter(|_| !datagram.truncated && !datagram.descriptors) else {
            return Ok(Arrival::Malformed);
        };
        let mut sender = Identity::new(uid, gid);
        sender.pid = pid;
        sender.groups_incomplete = true; // SCM_CREDENTIALS carries no supplementary groups
        let return_address = datagram.return_address.as_ref().and_then(UnixSocketAddr::as_abstract);
        let reply_to = return_address.map(ReturnAddress::from_abstract);
        let bytes = Bytes::copy_from_slice(self.buffer.get(..datagram.len).unwrap_or_default());
        Ok(Arrival::Datagram(bytes, sender, reply_to))
    }

    /// Sends an answer. False if the receiver's socket is full or gone.
    ///
    /// Unread answers fill the send buffer, which all receivers share.
    pub(crate) fn send(&self, to: &ReturnAddress, message: &Message<Fd>, precedence: Precedence) -> bool {
        if precedence == Precedence::Denial && !self.is_nearly_empty() {
            return false;
        }
        UnixSocketAddr::from_abstract(to.name())
            .and_then(|address| self.socket.send_to_unix_addr(&message.to_vec(), &address))
            .is_ok()
    }

    /// A datagram socket is writable while no more than a quarter of its send buffer is in use (`unix_writable` in the kernel).
    fn is_nearly_empty(&self) -> bool {
        poll::is_ready(&self.socket, poll::PollFlags::OUT).unwrap_or(false)
    }
}

impl From<Datagrams> for OwnedFd {
    fn from(datagrams: Datagrams) -> Self {
        datagrams.socket.into()
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
