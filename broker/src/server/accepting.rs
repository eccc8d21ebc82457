//! Accepting: connections and datagrams, as they come through the doors.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use ipc_protocol::transport::credentials;

use super::{
    broker::Server,
    connection::Connection,
    datagrams::Arrival,
    doors::{Visitor, say_goodbye},
    poller::{Interest, Source},
};
use crate::{core::Moment, front};

impl Server {
    pub(super) fn accept(&mut self, now: Moment) {
        for _ in 0..ACCEPTS {
            let Some(door) = &mut self.door else { return };
            match door.accept() {
                Ok(Visitor::Accepted(socket)) => self.admit(now, socket),
                Ok(Visitor::Nobody) => return,
                Ok(Visitor::NoDescriptors) => return self.pause_accept(now, "no descriptor is free"),
                Err(error) => return self.pause_accept(now, &error.to_string()),
            }
        }
    }

    pub(super) fn admit(&mut self, now: Moment, socket: OwnedFd) {
        let fd = socket.as_fd();
        // A socket whose peer the kernel does not name is one that nobody can answer for.
        let Ok(identity) = credentials::of_peer(fd) else { return };
        let id = match self.router.connect(now, identity, &mut self.out) {
            Ok(id) => id,
            Err(goodbye) => return say_goodbye(fd, goodbye),
        };
        let max_body = u32::try_from(self.router.limits().body_bytes).unwrap_or(u32::MAX);
        if self.poller.add(&socket, Source::Peer(id), Interest::READ).is_err() {
            return self.router.disconnect(id, &mut self.out); // ENOSPC: no epoll watch is left for this user
        }
        self.connections.insert(Connection::new(id, socket, max_body));
    }

    /// Stops accepting for a moment: the listener stays ready, and would be told of again and again.
    pub(super) fn pause_accept(&mut self, now: Moment, reason: &str) {
        self.log.trouble(now, format_args!("event=accept_paused reason={reason:?}"));
        self.watch_door(Interest { read: false, write: false });
        self.resume_accept = Some(now.after(ACCEPT_PAUSE));
    }

    pub(super) fn watch_door(&mut self, interest: Interest) {
        if let Some(door) = &self.door
            && let Err(error) = self.poller.modify(door, Source::Listener, interest)
        {
            self.log.line(format_args!("event=listener_lost reason={:?}", error.to_string()));
        }
    }

    pub(super) fn receive_datagrams(&mut self, now: Moment) {
        for _ in 0..DATAGRAMS {
            let Some(datagrams) = &mut self.datagrams else { return };
            match datagrams.receive() {
                Ok(Arrival::Datagram(bytes, sender, reply_to)) => {
                    front::datagram::receive(&mut self.router, now, bytes, (sender, reply_to), &mut self.out);
                }
                Ok(Arrival::Malformed) => self.router.datagram_malformed(),
                Ok(Arrival::Nothing) | Err(_) => break,
            }
        }
        self.apply(now);
    }
}

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Datagrams taken in one turn.
const DATAGRAMS: usize = 64;
/// How long accepting pauses when no descriptor is free, unless one becomes free before.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
