//! The datagram socket.

use std::{
    collections::BTreeMap,
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
    shares: Shares,
    rights: Rights,
}

impl Datagrams {
    pub(crate) fn new(socket: OwnedFd, rights: Rights) -> Self {
        Self { socket: socket.into(), buffer: Vec::new(), shares: Shares::default(), rights }
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
        let reply_to = return_address.map(|name| ReturnAddress::from_abstract(name, uid));
        let bytes = Bytes::copy_from_slice(self.buffer.get(..datagram.len).unwrap_or_default());
        Ok(Arrival::Datagram(bytes, sender, reply_to))
    }

    /// Sends an answer. False if the receiver's socket is full or gone.
    ///
    /// Unread answers fill the send buffer, which all receivers share. So a denial is sent only while the buffer is nearly empty, and
    /// other answers as long as their user has not used up its share of it.
    pub(crate) fn send(&mut self, to: &ReturnAddress, message: &Message<Fd>, precedence: Precedence) -> bool {
        let bytes = message.to_vec();
        let is_spent = precedence == Precedence::Denial || self.shares.is_spent(to.uid(), bytes.len());
        if is_spent {
            if !self.is_nearly_empty() {
                return false;
            }
            self.shares.renew();
        }
        let sent = UnixSocketAddr::from_abstract(to.name())
            .and_then(|address| self.socket.send_to_unix_addr(&bytes, &address))
            .is_ok();
        if sent {
            self.shares.spend(to.uid(), bytes.len());
        }
        sent
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

/// What each user was sent since the send buffer was last nearly empty. The kernel doesn't say whose answers are unread, so all of them
/// count until it is nearly empty again.
#[derive(Debug, Default)]
struct Shares(BTreeMap<u32, usize>);

impl Shares {
    /// Whether a user has had its share. The first answer is always within it, however long.
    fn is_spent(&self, uid: u32, len: usize) -> bool {
        self.0.get(&uid).is_some_and(|spent| spent + len + Self::OVERHEAD > Self::SHARE)
    }

    fn spend(&mut self, uid: u32, len: usize) {
        *self.0.entry(uid).or_default() += len + Self::OVERHEAD;
    }

    /// The buffer is nearly empty: a user who hoards answers has at most a quarter of it.
    fn renew(&mut self) {
        self.0.clear();
    }

    /// About an eighth of the buffer (net.core.wmem_default is 212,992).
    const SHARE: usize = 24 * 1024;
    /// What the kernel counts for a datagram besides its bytes, at least.
    const OVERHEAD: usize = 768;
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_share_of_the_buffer_and_its_first_answer_in_any_case() {
        let mut shares = Shares::default();
        assert!(!shares.is_spent(7, MAX_DATAGRAM));
        shares.spend(7, MAX_DATAGRAM);
        assert!(shares.is_spent(7, 0) && !shares.is_spent(8, 0));
        (0..29).for_each(|_| shares.spend(8, 32));
        assert!(!shares.is_spent(8, 32));
        shares.spend(8, 32);
        assert!(shares.is_spent(8, 32));
        shares.renew();
        assert!(!shares.is_spent(7, 0) && !shares.is_spent(8, 32));
    }
}
