//! Connections: each is a socket with its inlet, read once per turn, and written from its outlet.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use ipc_protocol::{
    Goodbye, Violation,
    transport::{ReadBuffer, Received, Rights, fd, receive_into},
    wire::Message,
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg},
};

use super::{
    decisions::Decisions,
    outlets::Fd,
    poller::{Interest, Poller, Ready, Source},
    sunk::{Depth, Look, Sunk},
};
use crate::{
    core::{Input, Item, Moment, PeerId, Turn},
    front::{Dialect, Incoming, Inlet, Outlet, Pool, Sheet},
};

/// All connections, each at its peer's place in the router's table.
#[derive(Debug)]
pub(crate) struct Connections {
    places: Vec<Option<Box<Connection>>>,
    /// The buffer that all connections are read into.
    buffer: ReadBuffer,
    /// The sheet that all connections are written from.
    sheet: Sheet,
    /// The message that is being routed.
    message: Message<Fd>,
    /// Connections that may have more to be routed, from this turn's reads.
    unrouted: Vec<PeerId>,
    sunk: Sunk,
    rights: Rights,
}

#[derive(Debug)]
struct Connection {
    id: PeerId,
    socket: OwnedFd,
    inlet: Inlet,
    /// The events that the poller watches for.
    interest: Interest,
    reading: Reading,
    rest: Rest,
    /// Whether the poller reports it once, until it has had its turn. Strangers wait for theirs, and would be reported all the time.
    once: bool,
    /// Whether its other side reads nothing any more, although it may still send (shutdown(2)).
    deaf: bool,
    /// Whether its socket took no more at the last write, and the poller has not said since that it does.
    full: bool,
    /// What of its messages lies in the kernel.
    depth: Depth,
}

/// What an inlet may hold besides an incomplete message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    Nothing,
    /// Messages in the shared read buffer.
    Shared,
    /// Messages in memory of its own.
    Owned,
}

/// Whether a connection is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// It is read from.
    Open,
    /// It is not read from until there is room for the frame that has begun.
    Parked,
    /// It is not read from until it has read itself. Its inlet may hold messages.
    HeldBack,
    /// The other side has finished sending.
    Ended,
}

/// The result of a write.
struct Flushed {
    /// The cost of the items that were written completely.
    cost: usize,
    /// The bytes that were written.
    bytes: usize,
    then: Then,
}

/// What may be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Everything was written.
    Anything,
    /// The socket takes no more now.
    Later,
    /// The socket takes nothing any more.
    Nothing,
}

impl Connections {
    /// No connections. `rights` says what becomes of descriptors that are sent over them.
    pub(crate) fn new(rights: Rights) -> Self {
        Self {
            places: Vec::new(),
            buffer: ReadBuffer::new(),
            sheet: Sheet::new(),
            message: Message::Pong(0),
            unrouted: Vec::new(),
            sunk: Sunk::default(),
            rights,
        }
    }

    /// Adds a connection, which the poller watches already with this interest.
    pub(crate) fn insert(&mut self, id: PeerId, socket: OwnedFd, interest: Interest, decisions: &mut Decisions) {
        decisions.outlets().insert(id);
        let index = id.index();
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(Box::new(Connection::new(id, socket, interest)));
        }
    }

    /// Gives back memory that is kept for reuse.
    pub(crate) fn give_back(&mut self) {
        self.buffer = ReadBuffer::new();
        self.sheet = Sheet::new();
        self.message = Message::Pong(0);
        self.unrouted.shrink_to_fit();
        self.sunk.give_back();
        let used = self.places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.places.truncate(used);
        self.places.shrink_to_fit();
    }

    // ---- reading

    /// Serves a connection that the poller reports as ready: notes it for its turn, and for writing.
    pub(crate) fn serve(&mut self, id: PeerId, ready: Ready, decisions: &mut Decisions) -> Served {
        let Some(connection) = connection(&mut self.places, id) else { return Served::Open };
        if connection.once {
            connection.interest = Interest::NOTHING;
        }
        connection.full &= !(ready.write || ready.hung_up);
        if ready.write || connection.once && connection.reading != Reading::Open {
            decisions.outlets().mark(id);
        }
        match connection.reading {
            Reading::Open if ready.read => decisions.ready(id),
            Reading::Parked | Reading::Ended if ready.hung_up => return Served::Gone,
            // The write fails, and what it has sent is still taken.
            Reading::HeldBack if ready.hung_up => decisions.outlets().mark(id),
            Reading::Open | Reading::Parked | Reading::HeldBack | Reading::Ended => {}
        }
        Served::Open
    }

    /// A connection's turn: reads once, unless something is left of an earlier read, and routes what the turn allows.
    #[inline]
    pub(crate) fn take_turn(&mut self, now: Moment, turn: Turn, decisions: &mut Decisions) -> Served {
        let Some(connection) = connection(&mut self.places, turn.peer) else { return Served::Open };
        let mut served = Served::Open;
        let is_native = connection.inlet.dialect() == Dialect::Native;
        if connection.once {
            decisions.outlets().mark(turn.peer);
        }
        if connection.rest == Rest::Nothing && connection.reading == Reading::Open {
            served = connection.take(now, turn, (self.rights, &mut self.buffer), decisions);
        }
        if connection.rest != Rest::Nothing && connection.route(now, turn, &mut self.message, decisions) {
            self.unrouted.push(turn.peer);
        }
        if !is_native {
            self.settle(now, turn.peer, decisions);
        }
        decisions.end_turn(turn);
        served
    }

    /// Tells what a dialect keeps, and has a batch written whose answers are all there.
    #[inline(never)]
    fn settle(&mut self, now: Moment, id: PeerId, decisions: &mut Decisions) {
        let Some(connection) = connection(&mut self.places, id) else { return };
        if let Some(bytes) = connection.inlet.take_kept() {
            decisions.tell(now, Input::Kept { by: id, bytes });
        }
        if connection.inlet.wants_write() {
            decisions.outlets().mark(id);
        }
    }

    /// Copies out of the shared read buffer what is not routed in this turn, and has it charged.
    #[inline]
    pub(crate) fn keep_unrouted(&mut self, now: Moment, decisions: &mut Decisions) {
        if !self.unrouted.is_empty() {
            self.keep_each(now, decisions);
        }
    }

    #[inline(never)]
    fn keep_each(&mut self, now: Moment, decisions: &mut Decisions) {
        for id in self.unrouted.drain(..) {
            let Some(connection) = connection(&mut self.places, id) else { continue };
            match connection.rest {
                Rest::Nothing => continue,
                Rest::Owned => {}
                Rest::Shared => {
                    connection.inlet.detach();
                    connection.rest = Rest::Owned;
                }
            }
            let held = connection.inlet.held();
            if held > 0 {
                decisions.tell(now, Input::Partial { from: id, held });
            }
        }
    }

    /// Continues a connection by assembling the frame that has begun, up to what is granted to it.
    pub(crate) fn assemble(&mut self, id: PeerId, granted: usize, decisions: &mut Decisions) {
        self.resume(id, decisions, |inlet| inlet.assemble(granted));
    }

    /// Continues a connection by skipping the frame that has begun.
    pub(crate) fn skip(&mut self, id: PeerId, decisions: &mut Decisions) {
        self.resume(id, decisions, Inlet::skip);
    }

    /// Reads nothing more from a connection for now.
    pub(crate) fn park(&mut self, id: PeerId, decisions: &mut Decisions) {
        if let Some(connection) = connection(&mut self.places, id) {
            connection.inlet.detach();
            connection.rest = Rest::Owned;
            connection.reading = Reading::Parked;
            decisions.outlets().mark(id);
        }
    }

    fn resume(&mut self, id: PeerId, decisions: &mut Decisions, how: impl FnOnce(&mut Inlet)) {
        let Some(connection) = connection(&mut self.places, id) else { return };
        how(&mut connection.inlet);
        if connection.reading == Reading::Parked {
            connection.reading = Reading::Open;
            decisions.outlets().mark(id);
        } else {
            connection.rest = Rest::Shared;
        }
        self.unrouted.push(id);
        decisions.ready(id);
    }

    // ---- writing

    /// Writes the next connection with queued items, once. `None` if there is none.
    #[inline]
    pub(crate) fn write_next(
        &mut self,
        now: Moment,
        poller: &Poller,
        decisions: &mut Decisions,
    ) -> Option<(PeerId, Served)> {
        let id = decisions.outlets().next_dirty()?;
        Some((id, self.write(now, id, poller, decisions)))
    }

    #[inline]
    fn write(&mut self, now: Moment, id: PeerId, poller: &Poller, decisions: &mut Decisions) -> Served {
        let Some(connection) = connection(&mut self.places, id) else { return Served::Open };
        let Some((outlet, pool)) = decisions.outlets().of(id) else { return Served::Open };
        let mut wants_write = false;
        outlet.arrange(&mut connection.inlet, pool);
        if !outlet.is_empty() {
            let Flushed { mut cost, bytes, then } = connection.flush(outlet, &mut self.sheet, pool);
            if bytes > 0 {
                self.sunk.note(id, &mut connection.depth, bytes);
            }
            match then {
                Then::Anything => {}
                Then::Later => outlet.detach(),
                // EPIPE: its peer doesn't read any more. What it wrote before is still taken; the end of that closes the connection.
                Then::Nothing if matches!(connection.reading, Reading::Open | Reading::HeldBack) => {
                    outlet.forget_answers(&mut connection.inlet);
                    cost += outlet.discard(pool).cost;
                    connection.deaf = true;
                }
                Then::Nothing => return Served::Gone,
            }
            wants_write = !outlet.is_empty(); // what is decided because of this write is written after it
            if let Some(shed) = decisions.outlets().take_shed(id) {
                decisions.tell(now, Input::Shed { to: id, shed });
            }
            decisions.tell(now, Input::Written { to: id, cost });
        }
        if connection.inlet.dialect() != Dialect::Native {
            connection.speak_for(now, &mut self.message, decisions);
        }
        if connection.reading == Reading::HeldBack || connection.deaf {
            connection.look_again(now, decisions);
        }
        let wanted = Interest { read: connection.reading == Reading::Open, write: wants_write, once: connection.once };
        match connection.watch(poller, wanted) {
            Ok(()) => Served::Open,
            Err(_) => Served::Gone,
        }
    }

    // ---- what peers do not read

    /// What was written, and is to be looked for in the kernel with [`Connections::look`].
    pub(crate) fn sunk(&mut self) -> &mut Sunk {
        &mut self.sunk
    }

    /// Has charged what the kernel holds for a peer that has not read it.
    pub(crate) fn look(&mut self, now: Moment, (id, why): (PeerId, Look), decisions: &mut Decisions) {
        let Some(connection) = connection(&mut self.places, id) else { return };
        let Ok(found) = fd::unread_by_peer(connection.socket.as_fd()) else { return };
        let known = connection.depth.bytes;
        let is_stuck = self.sunk.looked(now, (id, why), &mut connection.depth, found);
        if found != known || is_stuck {
            decisions.tell(now, Input::Sunk { to: id, bytes: found, is_stuck });
        }
    }

    /// Removes all connections. Their sockets are still to be closed.
    pub(crate) fn remove_all(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.places.drain(..).flatten().map(|connection| connection.socket)
    }

    /// Removes a connection, and sends the goodbye if its socket takes that at once. The socket is still to be closed.
    pub(crate) fn remove(
        &mut self,
        id: PeerId,
        goodbye: Option<Goodbye>,
        poller: &Poller,
        decisions: &mut Decisions,
    ) -> Option<OwnedFd> {
        let connection = connection(&mut self.places, id)?;
        if let (Some(goodbye), Some((outlet, pool))) = (goodbye, decisions.outlets().of(id)) {
            outlet.push(Item::required(Message::Goodbye(goodbye)), pool);
            let _ = connection.flush(outlet, &mut self.sheet, pool);
        }
        decisions.outlets().remove(id);
        poller.remove(&connection.socket);
        let connection = self.places.get_mut(id.index())?.take()?;
        Some(connection.socket)
    }
}

/// The state of a connection after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Served {
    /// It stays open.
    Open,
    /// Its other end is gone, and it must be closed.
    Gone,
}

impl Connection {
    fn new(id: PeerId, socket: OwnedFd, interest: Interest) -> Self {
        Self {
            id,
            socket,
            inlet: Inlet::default(),
            interest,
            reading: Reading::Open,
            rest: Rest::Nothing,
            once: interest.once,
            deaf: false,
            full: false,
            depth: Depth::default(),
        }
    }

    fn read(&mut self, rights: Rights, buffer: &mut ReadBuffer, most: usize) -> io::Result<Received> {
        let socket = self.socket.as_fd();
        if let Some((partial, missing)) = self.inlet.direct() {
            return match rights {
                Rights::Refused => receive_into(socket, partial, missing),
                Rights::Received => buffer.receive_into_warily(socket, partial, missing),
            };
        }
        let (received, bytes) = match rights {
            Rights::Refused => buffer.receive(socket, most)?,
            Rights::Received => buffer.receive_warily(socket, most)?,
        };
        if !bytes.is_empty() {
            self.inlet.feed(bytes);
        }
        Ok(received)
    }

    /// Reads once: up to [`ReadBuffer::READ_LEN`] bytes, or the rest of a long frame.
    fn take(
        &mut self,
        now: Moment,
        turn: Turn,
        (rights, buffer): (Rights, &mut ReadBuffer),
        decisions: &mut Decisions,
    ) -> Served {
        let id = turn.peer;
        let received = self.read(rights, buffer, turn.bytes);
        decisions.note_read(if let Ok(Received::Bytes(len)) = received { len } else { 0 });
        match received {
            Ok(Received::Bytes(_)) => self.rest = Rest::Shared,
            Ok(Received::Nothing) => {}
            Ok(Received::End) => {
                self.reading = Reading::Ended;
                decisions.outlets().mark(id);
                decisions.tell(now, Input::Ended { from: id });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                decisions.tell(now, Input::Violation { from: id, violation: Violation::UnexpectedFds });
            }
            Err(_) => return Served::Gone, // ECONNRESET: it closed with bytes unread
        }
        Served::Open
    }

    /// Routes its messages, until there is none or its turn is over. Returns whether there may be more.
    fn route(&mut self, now: Moment, turn: Turn, message: &mut Message<Fd>, decisions: &mut Decisions) -> bool {
        let id = turn.peer;
        let rest = std::mem::replace(&mut self.rest, Rest::Nothing);
        loop {
            if !decisions.may_send(id) && self.hold_back() {
                decisions.outlets().mark(id); // it goes on when it has read
                break;
            }
            match self.inlet.next(message) {
                Ok(Some(Incoming::Message)) => {
                    decisions.tell(now, Input::Message { from: id, message });
                }
                Ok(Some(Incoming::Begun(frame))) => {
                    decisions.tell(now, Input::Begun { from: id, frame });
                    return false; // it goes on when the decision is carried out
                }
                Ok(Some(Incoming::Misnamed { id: number, error })) => {
                    decisions.tell(now, Input::Misnamed { from: id, id: number, error });
                }
                Ok(Some(Incoming::Malformed { .. })) if self.deaf => {
                    decisions.tell(now, Input::Violation { from: id, violation: Violation::Untellable });
                    return false;
                }
                Ok(Some(Incoming::Malformed { id: number, code, text })) => {
                    decisions.tell(now, Input::Malformed { from: id, id: number, code, text });
                }
                Ok(Some(Incoming::Skipped)) => decisions.tell(now, Input::Skipped { from: id }),
                Ok(None) => {
                    if self.deaf {
                        decisions.outlets().mark(id); // to look whether it has sent more
                    }
                    if let Some(held) = self.inlet.partial() {
                        decisions.tell(now, Input::Partial { from: id, held });
                    }
                    return false;
                }
                Err(violation) => {
                    decisions.tell(now, Input::Violation { from: id, violation });
                    return false;
                }
            }
            if decisions.is_over(&turn) {
                break;
            }
        }
        self.rest = rest;
        if self.reading != Reading::HeldBack {
            decisions.ready(id);
        }
        true
    }

    /// Tells the router what the dialect says in the peer's place, and what it keeps for it.
    #[inline(never)]
    fn speak_for(&mut self, now: Moment, message: &mut Message<Fd>, decisions: &mut Decisions) {
        while self.inlet.say(message) {
            decisions.tell(now, Input::Message { from: self.id, message });
        }
        if let Some(bytes) = self.inlet.take_kept() {
            decisions.tell(now, Input::Kept { by: self.id, bytes });
        }
    }

    /// Lets the messages of a connection wait until it has read. False if nothing more is read from it anyway.
    #[cold]
    fn hold_back(&mut self) -> bool {
        let is_read = matches!(self.reading, Reading::Open | Reading::HeldBack);
        if is_read {
            self.reading = Reading::HeldBack;
        }
        is_read
    }

    /// After a write: a connection that was held back may go on, if it has read by now. One that reads nothing any more is told, once
    /// everything that it has sent is routed.
    #[cold]
    fn look_again(&mut self, now: Moment, decisions: &mut Decisions) {
        if self.reading == Reading::HeldBack && decisions.may_send(self.id) {
            self.reading = Reading::Open;
            decisions.ready(self.id);
        } else if self.deaf && self.rest == Rest::Nothing && self.reading == Reading::Open && !self.has_sent() {
            decisions.tell(now, Input::Deaf { from: self.id });
        }
    }

    /// Whether there is something to read, which may be the end.
    fn has_sent(&self) -> bool {
        let looked = recv(&self.socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.err() != Some(Errno::AGAIN)
    }

    /// Writes until everything is written or the socket takes no more. What is not taken is encoded in vain, for a peer that doesn't
    /// read in each turn: so a full socket is left alone until the poller reports it. Who is held back is tried all the same, because
    /// a full socket doesn't say that its peer has gone deaf.
    #[inline]
    fn flush(&mut self, outlet: &mut Outlet<Fd>, sheet: &mut Sheet, pool: &mut Pool<Fd>) -> Flushed {
        let (mut cost, mut bytes) = (0, 0);
        if self.full && self.reading != Reading::HeldBack {
            return Flushed { cost, bytes, then: Then::Later };
        }
        loop {
            outlet.encode(&self.inlet, sheet);
            let (len, is_full) = match write(self.socket.as_fd(), sheet) {
                Ok(len) => (len, len < sheet.len()),
                Err(Errno::AGAIN) => (0, true),
                Err(_) => return Flushed { cost, bytes, then: Then::Nothing },
            };
            cost += outlet.wrote(len, sheet, &mut self.inlet, pool).cost;
            bytes += len;
            sheet.clear();
            self.full = is_full;
            if is_full {
                return Flushed { cost, bytes, then: Then::Later };
            }
            if outlet.is_empty() {
                return Flushed { cost, bytes, then: Then::Anything };
            }
        }
    }

    /// Tells the poller which events to watch for, if they have changed. It always reports a close.
    fn watch(&mut self, poller: &Poller, wanted: Interest) -> io::Result<()> {
        if wanted != self.interest {
            self.interest = wanted;
            poller.modify(&self.socket, Source::Peer(self.id), wanted)?;
        }
        Ok(())
    }
}

fn connection(places: &mut [Option<Box<Connection>>], id: PeerId) -> Option<&mut Connection> {
    places.get_mut(id.index())?.as_deref_mut().filter(|connection| connection.id == id)
}

/// Writes the sheet once.
fn write(socket: BorrowedFd<'_>, sheet: &Sheet) -> Result<usize, Errno> {
    if sheet.is_empty() {
        return Ok(0); // items that this dialect has no words for
    }
    loop {
        let written = match sheet.single() {
            Some(bytes) => send(socket, bytes, FLAGS),
            None => {
                let mut slices = [IoSlice::new(&[]); Sheet::PIECES];
                let used = sheet.pieces(&mut slices);
                let pieces = slices.get(..used).unwrap_or_default();
                sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), FLAGS)
            }
        };
        if written != Err(Errno::INTR) {
            return written;
        }
    }
}

/// A broken connection is an error and not a signal, and a full socket does not make the broker wait.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

#[cfg(test)]
mod tests;
