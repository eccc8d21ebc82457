//! A fake peer: what the router sent it, what it has read of that, and what it owes.

use std::collections::{BTreeMap, VecDeque};

use ipc_protocol::{Goodbye, Identity, Message};
use ipcd::core::PeerId;

use super::Ticket;

/// One fake peer.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: PeerId,
    pub(crate) identity: Identity,
    /// Whether it reads whatever comes, at once.
    pub(crate) reads: bool,
    /// Sent by the router, not read yet.
    pub(crate) outbox: VecDeque<Message>,
    /// Bytes of the first message of the outbox that were read.
    begun: usize,
    /// Whether something was queued since it was last written to.
    dirty: bool,
    /// Read, not looked at yet.
    pub(crate) inbox: VecDeque<Message>,
    /// The number of its last call.
    pub(crate) last_call: u64,
    /// What the router said when it cut the connection.
    pub(crate) goodbye: Option<Goodbye>,
    number: Option<u64>,
    open: bool,
    owes: BTreeMap<u64, Owed>,
}

/// A call that was delivered to it and not answered.
#[derive(Debug)]
struct Owed {
    ticket: Ticket,
    cancelled: bool,
}

impl Fake {
    pub(crate) fn new(id: PeerId, identity: Identity) -> Self {
        Self {
            id,
            identity,
            reads: true,
            outbox: VecDeque::new(),
            begun: 0,
            dirty: false,
            inbox: VecDeque::new(),
            last_call: 0,
            goodbye: None,
            number: None,
            open: true,
            owes: BTreeMap::new(),
        }
    }

    /// Its own number, as welcome said.
    pub(crate) fn number(&self) -> u64 {
        self.number.expect("welcome came before everything else")
    }

    pub(crate) fn has_number(&self) -> bool {
        self.number.is_some()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
        self.outbox.clear();
        self.owes.clear();
    }

    /// The router sends it a message.
    pub(crate) fn queue(&mut self, message: Message) {
        self.outbox.push_back(message);
        self.dirty = true;
    }

    /// Whether it is to be written to: it has got something new, or begins to read.
    pub(crate) fn is_to_be_written(&self) -> bool {
        self.open && (self.dirty || self.reads && !self.outbox.is_empty())
    }

    /// Writes to it, and tells how many bytes it took.
    pub(crate) fn write(&mut self) -> usize {
        self.dirty = false;
        if self.reads { self.read_all() } else { 0 }
    }

    /// Reads everything, and tells how many bytes that were.
    pub(crate) fn read_all(&mut self) -> usize {
        self.read(usize::MAX)
    }

    /// Reads at most `bytes` bytes, and tells how many it were.
    pub(crate) fn read(&mut self, bytes: usize) -> usize {
        let mut read = 0;
        while let Some(len) = self.outbox.front().map(|message| message.frame_len() - self.begun) {
            if bytes - read < len {
                self.begun += bytes - read;
                return bytes;
            }
            read += len;
            self.begun = 0;
            let message = self.outbox.pop_front().expect("it was looked at");
            if let Message::Welcome(welcome) = &message {
                self.number = Some(welcome.peer.0);
            }
            self.inbox.push_back(message);
        }
        read
    }

    /// Bytes that it has not read.
    pub(crate) fn unread(&self) -> usize {
        self.outbox.iter().map(Message::frame_len).sum::<usize>() - self.begun
    }

    /// A call was sent to it.
    pub(crate) fn owe(&mut self, id: u64, ticket: Ticket) {
        let before = self.owes.insert(id, Owed { ticket, cancelled: false });
        assert!(before.is_none(), "two calls are delivered as {id:#x}");
    }

    /// Calls that it has not answered.
    pub(crate) fn owes(&self) -> usize {
        self.owes.len()
    }

    /// It answered a call. `None` if it had none with this number.
    pub(crate) fn answer(&mut self, id: u64) -> Option<Ticket> {
        self.owes.remove(&id).map(|owed| owed.ticket)
    }

    /// Calls that it has not answered, and whether it was told that nobody waits for them.
    pub(crate) fn owed(&self) -> impl Iterator<Item = (Ticket, bool)> {
        self.owes.values().map(|owed| (owed.ticket, owed.cancelled))
    }

    /// The router took interest off a call.
    pub(crate) fn cancel(&mut self, id: u64) {
        let owed = self.owes.get_mut(&id).expect("only calls that are being worked on are cancelled");
        assert!(!owed.cancelled, "call {id:#x} is cancelled twice");
        owed.cancelled = true;
    }
}
