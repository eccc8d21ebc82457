//! Reading: each ready connection once a turn, then its frames in rounds with everybody else's. Frames that take their time are on the
//! clock, unless it is the broker that makes them wait.

use std::{io, os::fd::AsFd, time::Duration};

use ipc_protocol::{Incoming, Violation, transport::Received};

use super::{
    broker::Server,
    connection::{Connection, Reading},
    poller::Ready,
};
use crate::{
    core::{Moment, PeerId},
    front,
};

impl Server {
    pub(super) fn serve_peer(&mut self, now: Moment, id: PeerId, ready: Ready) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if ready.write {
            connection.mark_dirty(&mut self.dirty);
        }
        match connection.reading {
            Reading::Open if ready.read => self.read(now, id),
            Reading::Parked(_) | Reading::Ended if ready.hung_up => self.close(now, id),
            Reading::Open | Reading::Parked(_) | Reading::Ended => {}
        }
    }

    /// Reads once from a connection: at most [`ReadBuffer::READ_LEN`] bytes, or the rest of a long frame.
    pub(super) fn read(&mut self, now: Moment, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Connection { socket, inbox, .. } = connection;
        match inbox.read(socket.as_fd(), &mut self.buffer) {
            Ok(Received::Bytes(_)) => self.unrouted.push_back(id),
            Ok(Received::Nothing) => {}
            Ok(Received::End) => self.end_reading(now, id),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.router.violate(id, &Violation::UnexpectedFds, &mut self.out);
                self.apply(now);
            }
            Err(_) => self.close(now, id), // ECONNRESET: it closed with bytes unread
        }
    }

    /// Routes the frames that were read: each connection's next few, then those of the next one, until none are left.
    pub(super) fn route_rounds(&mut self, now: Moment) {
        while let Some(id) = self.unrouted.pop_front() {
            let has_more = (0..self.router.limits().turn_frames).all(|_| self.route_frame(now, id));
            self.apply(now);
            if has_more {
                self.unrouted.push_back(id);
            } else {
                self.watch_frame(now, id);
            }
        }
    }

    /// Routes the next frame of a connection; false if it has none left for now.
    pub(super) fn route_frame(&mut self, now: Moment, id: PeerId) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        match connection.inbox.next() {
            Ok(Some(Incoming::Frame(frame))) => {
                connection.mid_frame_since = None;
                self.router.release(id);
                front::native::receive(&mut self.router, now, id, frame, &mut self.out);
            }
            Ok(Some(Incoming::TooLarge(header))) => {
                connection.mid_frame_since = None;
                self.router.receive_too_large(now, id, header, &mut self.out);
            }
            Ok(Some(Incoming::Begun(header))) if self.router.grant(id, header.frame_len()) => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.mid_frame_since = None; // it may have been the broker that was slow
                    connection.inbox.decoder().assemble();
                }
            }
            Ok(Some(Incoming::Begun(header))) => {
                self.park(id, header.frame_len());
                return false;
            }
            Ok(None) => return false,
            Err(violation) => {
                self.router.violate(id, &violation, &mut self.out);
                return false;
            }
        }
        true
    }

    /// Stops reading from a connection until its user's quota has room for the frame that it has begun.
    pub(super) fn park(&mut self, id: PeerId, len: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.inbox.decoder().detach();
        connection.reading = Reading::Parked(len);
        connection.mark_dirty(&mut self.dirty);
        self.parked.push((id, len));
    }

    /// Whether there is room for one of the parked connections.
    pub(super) fn may_unpark(&self) -> bool {
        self.parked.iter().any(|(id, len)| self.router.has_room(*id, *len))
    }

    /// Lets parked connections try again.
    pub(super) fn unpark(&mut self, now: Moment) {
        for (id, _) in std::mem::take(&mut self.parked) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.reading = Reading::Open;
            connection.mark_dirty(&mut self.dirty);
            self.unrouted.push_back(id);
        }
        self.route_rounds(now);
    }

    /// A begun frame must be complete in time, and one that waits for room must get it in time.
    pub(super) fn watch_frame(&mut self, now: Moment, id: PeerId) {
        let frame_time = Duration::from_millis(self.router.limits().frame_ms);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.inbox.decoder().mid_frame() || connection.reading == Reading::Ended {
            connection.mid_frame_since = None;
            return;
        }
        connection.mid_frame_since.get_or_insert(now);
        if !connection.on_clock {
            connection.on_clock = true;
            self.frame_clock.push_back((now.after(frame_time), id));
        }
    }

    pub(super) fn expire_frames(&mut self, now: Moment) {
        let frame_time = Duration::from_millis(self.router.limits().frame_ms);
        while let Some((deadline, id)) = self.frame_clock.front().copied()
            && deadline <= now
        {
            self.frame_clock.pop_front();
            let Some(connection) = self.connections.get_mut(id) else { continue };
            match connection.mid_frame_since.map(|since| since.after(frame_time)) {
                None => connection.on_clock = false,
                Some(deadline) if deadline > now => self.frame_clock.push_back((deadline, id)), // a newer frame
                Some(_) => self.end_frame_wait(now, id),
            }
        }
    }

    /// A frame has taken its time: that is its sender's fault, unless it waits for room.
    fn end_frame_wait(&mut self, now: Moment, id: PeerId) {
        let frame_time = Duration::from_millis(self.router.limits().frame_ms);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Reading::Parked(len) = connection.reading else {
            let violation = Violation::TooSlow("the rest of a frame", frame_time.as_secs());
            return self.router.violate(id, &violation, &mut self.out);
        };
        connection.mid_frame_since = Some(now);
        self.frame_clock.push_back((now.after(frame_time), id));
        self.router.make_room(id, len, &mut self.out);
    }

    /// The other side has finished sending. It may still wait for answers; a service can give none any more.
    pub(super) fn end_reading(&mut self, now: Moment, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let has_answers_to_come = self.router.awaits_answers(id) || !connection.outbox.is_empty();
        if self.router.is_service(id) || !has_answers_to_come {
            return self.close(now, id);
        }
        connection.reading = Reading::Ended;
        connection.mid_frame_since = None;
        connection.mark_dirty(&mut self.dirty);
    }
}
