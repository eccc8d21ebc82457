//! Writing: carries out what the router decided, and writes each connection once a turn.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::{
    Goodbye, Message,
    transport::{Outbox, Pool},
};

use super::{
    broker::Server,
    connection::{Connection, Reading},
    poller::Source,
};
use crate::core::{Moment, Output, PeerId};

impl Server {
    /// Does what the router decided, and what it decides because of that: the callers of a cut connection hear of it.
    pub(super) fn apply(&mut self, now: Moment) {
        while !self.out.is_empty() {
            let mut batch = std::mem::replace(&mut self.out, std::mem::take(&mut self.spare_out));
            for output in batch.drain(..) {
                self.carry_out(now, output);
            }
            self.spare_out = batch; // the two lists take turns, and keep their memory
        }
    }

    pub(super) fn carry_out(&mut self, now: Moment, output: Output) {
        match output {
            Output::Send { to, message } => {
                let Some(connection) = self.connections.get_mut(to) else { return };
                connection.outbox.push(message, &mut self.pool);
                connection.mark_dirty(&mut self.dirty);
            }
            Output::SendDatagram { to, message } => {
                let taken = self.datagrams.as_ref().is_some_and(|datagrams| datagrams.send(&to, &message));
                if !taken {
                    self.router.datagram_dropped();
                }
            }
            Output::Cut { peer, goodbye } => self.cut(now, peer, goodbye),
            Output::Log(event) => self.log.event(now, &event),
        }
    }

    /// Writes each connection that has something queued, once, and copies out what it does not take.
    pub(super) fn flush(&mut self, now: Moment) {
        while !self.dirty.is_empty() {
            let mut dirty = std::mem::take(&mut self.dirty);
            for id in dirty.drain(..) {
                self.flush_connection(now, id);
            }
            if self.dirty.is_empty() {
                self.dirty = dirty; // keeps its memory
            }
            self.apply(now); // room was made: calls that waited for it are delivered
        }
    }

    pub(super) fn flush_connection(&mut self, now: Moment, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        let Connection { socket, outbox, .. } = connection;
        let queued = outbox.len();
        let gone = match flush_outbox(outbox, socket, &mut self.pool) {
            Ok(written) => written,
            // EPIPE: nobody reads any more. What it wrote before it left is still taken; the end of that closes the connection.
            Err(_) if connection.reading == Reading::Open => {
                outbox.discard(&mut self.pool);
                queued
            }
            Err(_) => return self.close(now, id),
        };
        self.router.sent(now, id, gone, &mut self.out);
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            if self.poller.modify(&connection.socket, Source::Peer(id), wanted).is_err() {
                return self.close(now, id);
            }
        }
        if connection.reading == Reading::Ended && connection.outbox.is_empty() && !self.router.awaits_answers(id) {
            self.close(now, id);
        }
    }

    pub(super) fn cut(&mut self, now: Moment, id: PeerId, goodbye: Goodbye) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.outbox.push(Message::Goodbye(goodbye), &mut self.pool);
            let Connection { socket, outbox, .. } = connection;
            let _ = flush_outbox(outbox, socket, &mut self.pool); // what it does not take now, it does without
        }
        self.close(now, id);
    }

    pub(super) fn close(&mut self, now: Moment, id: PeerId) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        connection.outbox.discard(&mut self.pool);
        if matches!(connection.reading, Reading::Parked(_)) {
            self.parked.retain(|(parked, _)| *parked != id);
        }
        self.poller.remove(&connection.socket);
        drop(connection);
        self.router.disconnect(id, &mut self.out);
        if self.resume_accept.is_some() {
            self.resume_accept = Some(now); // a descriptor is free
        }
    }
}

/// Writes what the socket takes; the rest is copied out of the read buffer, which the next turn needs.
fn flush_outbox(outbox: &mut Outbox, socket: &OwnedFd, pool: &mut Pool) -> io::Result<usize> {
    let flushed = outbox.flush(socket.as_fd(), pool)?;
    if flushed.blocked {
        outbox.detach();
    }
    Ok(flushed.written)
}
