//! The floor: the least that a broker can do. A 16-byte header, a table look-up, a copy, and one write per connection and batch.
//!
//! It has no checks, limits or names, so a real broker can approach its figures but not reach them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{SocketFlags, accept_with},
};

use super::{
    dialect::{EVERYONE, FLOOR_HEADER, FloorHeader},
    process::say_ready,
};

/// A connection of the relay.
struct Connection {
    socket: OwnedFd,
    inbox: Vec<u8>,
    filled: usize,
    outbox: Vec<u8>,
    written: usize,
    /// Whether it is in [`Relay::dirty`].
    dirty: bool,
    /// Whether epoll reports when there is room to write.
    blocked: bool,
}

struct Relay {
    poll: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Connections whose outbox received frames in this batch.
    dirty: Vec<usize>,
}

/// Listens at `path`, and relays until it is killed.
pub(super) fn run(path: &Path) -> io::Result<()> {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    rustix::net::listen(&listener, 4_096)?;
    let mut relay =
        Relay { poll: epoll::create(epoll::CreateFlags::CLOEXEC)?, connections: Vec::new(), dirty: Vec::new() };
    epoll::add(&relay.poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    say_ready()?;
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        match epoll::wait(&relay.poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            match usize::try_from(event.data.u64()) {
                Ok(usize::MAX) | Err(_) => relay.accept(&listener)?,
                Ok(number) => relay.serve(number, event.flags)?,
            }
        }
        relay.flush()?;
    }
}

impl Relay {
    fn accept(&mut self, listener: impl AsFd) -> io::Result<()> {
        let socket = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        epoll::add(&self.poll, &socket, EventData::new_u64(self.connections.len() as u64), EventFlags::IN)?;
        self.connections.push(Some(Connection {
            socket,
            inbox: vec![0; INBOX],
            filled: 0,
            outbox: Vec::new(),
            written: 0,
            dirty: false,
            blocked: false,
        }));
        Ok(())
    }

    fn serve(&mut self, number: usize, flags: EventFlags) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) {
            self.mark(number);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        match rustix::io::read(&connection.socket, &mut connection.inbox[connection.filled..]) {
            Ok(0) | Err(Errno::CONNRESET) => self.connections[number] = None,
            Ok(len) => {
                connection.filled += len;
                self.route(number);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Copies the whole frames of an inbox to the outboxes of their receivers.
    fn route(&mut self, from: usize) {
        let Some(mut sender) = self.connections[from].take() else { return };
        let sender_number = u32::try_from(from).expect("connections are numbered from 0");
        let (mut at, mut is_own) = (0, false);
        while let Some(header) = sender.inbox[at..sender.filled].first_chunk::<FLOOR_HEADER>() {
            let header = FloorHeader::from_bytes(header);
            let end = at + FLOOR_HEADER + header.len as usize;
            if end > sender.filled {
                sender.inbox.resize(sender.inbox.len().max(end - at), 0);
                break;
            }
            let head = FloorHeader { peer: sender_number, ..header }.to_bytes();
            let body = &sender.inbox[at + FLOOR_HEADER..end];
            if header.peer == EVERYONE {
                // The first one is the service's.
                (1..self.connections.len()).for_each(|to| self.pass(to, &head, body));
                sender.outbox.extend_from_slice(&head);
                sender.outbox.extend_from_slice(body);
                is_own = true;
            } else {
                self.pass(header.peer as usize, &head, body);
            }
            at = end;
        }
        sender.inbox.copy_within(at..sender.filled, 0);
        sender.filled -= at;
        self.connections[from] = Some(sender);
        if is_own {
            self.mark(from);
        }
    }

    fn pass(&mut self, to: usize, head: &[u8], body: &[u8]) {
        self.mark(to);
        if let Some(Some(receiver)) = self.connections.get_mut(to) {
            receiver.outbox.extend_from_slice(head);
            receiver.outbox.extend_from_slice(body);
        }
    }

    fn mark(&mut self, number: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(number)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(number);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(number) = self.dirty.pop() {
            let Some(connection) = &mut self.connections[number] else { continue };
            connection.dirty = false;
            let blocked = match connection.flush() {
                Ok(()) => false,
                Err(Errno::AGAIN) => true,
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.connections[number] = None;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if connection.blocked != blocked {
                connection.blocked = blocked;
                let flags = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&self.poll, &connection.socket, EventData::new_u64(number as u64), flags)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    fn flush(&mut self) -> Result<(), Errno> {
        while self.written < self.outbox.len() {
            self.written += rustix::io::write(&self.socket, &self.outbox[self.written..])?;
        }
        self.outbox.clear();
        self.written = 0;
        Ok(())
    }
}

/// The initial size of an inbox, which grows to the longest frame received.
const INBOX: usize = 64 * 1024;
