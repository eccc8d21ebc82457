//! A fake peer: its socket, what it has read, and what it owes.

use std::collections::{BTreeMap, VecDeque};

use ipc_protocol::{Goodbye, Identity, Message};
use ipcd::{
    core::{Item, PeerId},
    front::{Inlet, Outlet, Pool, Sheet},
};

use super::{Ticket, Token};

/// One fake peer.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: PeerId,
    pub(crate) identity: Identity,
    /// Whether it reads whatever comes, at once.
    pub(crate) reads: bool,
    /// The broker's half of its connection.
    pub(crate) inlet: Inlet,
    outlet: Outlet<Token>,
    /// Whether the broker reads from it.
    pub(crate) parked: bool,
    /// Whether it has finished sending.
    pub(crate) ended: bool,
    /// Bytes that it has sent and the broker has not read.
    pub(crate) kernel: Vec<u8>,
    /// The rest of the frame that it has begun to send, and the call in it.
    pub(crate) rest: Vec<u8>,
    pub(crate) cut_call: Option<Ticket>,
    /// The call that the frame answers which has begun.
    pub(crate) begun_answer: Option<u64>,
    /// Sent by the router, not read yet: what stands in the outlet.
    sent: VecDeque<Message>,
    /// What the items in the outlet cost.
    unread: usize,
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
            inlet: Inlet::default(),
            outlet: Outlet::new(),
            parked: false,
            ended: false,
            kernel: Vec::new(),
            rest: Vec::new(),
            cut_call: None,
            begun_answer: None,
            sent: VecDeque::new(),
            unread: 0,
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
        self.inlet = Inlet::default();
        let left = self.outlet.discard(&mut Pool::new());
        assert_eq!(left.cost, self.unread, "what is left in the outlet of {:?}", self.id);
        self.sent.clear();
        self.kernel.clear();
        self.rest.clear();
        self.owes.clear();
    }

    /// The router sends it an item, which says `message`.
    pub(crate) fn queue(&mut self, item: Item<Token>, message: Message) {
        self.unread += item.cost;
        self.sent.push_back(message);
        self.outlet.push(item, &mut Pool::new());
        self.dirty = true;
    }

    /// Whether it is to be written to: it has got something new, or begins to read.
    pub(crate) fn is_to_be_written(&self) -> bool {
        self.open && (self.dirty || self.reads && !self.outlet.is_empty())
    }

    /// Writes to it, and tells what the items cost that it took.
    pub(crate) fn write(&mut self) -> usize {
        self.dirty = false;
        if self.reads { self.read_all() } else { 0 }
    }

    /// Reads everything, and tells what the items cost.
    pub(crate) fn read_all(&mut self) -> usize {
        self.read(usize::MAX)
    }

    /// Reads at most `bytes` bytes, and tells what the items cost that are complete.
    pub(crate) fn read(&mut self, mut bytes: usize) -> usize {
        let (mut sheet, mut cost) = (Sheet::new(), 0);
        while bytes > 0 && !self.outlet.is_empty() {
            self.outlet.encode(self.inlet.dialect(), &mut sheet);
            let len = bytes.min(sheet.len());
            let written = self.outlet.wrote(len, &sheet, &mut Pool::new());
            bytes -= len;
            cost += written.cost;
            for message in self.sent.drain(..written.items) {
                if let Message::Welcome(welcome) = &message {
                    self.number = Some(welcome.peer.0);
                }
                self.inbox.push_back(message);
            }
        }
        self.outlet.detach();
        self.unread -= cost;
        cost
    }

    /// What the items cost that it has not read.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// Its connection is written down, and read by another process.
    pub(crate) fn hand_over(&mut self) {
        let inlet = serde_json::to_string(&self.inlet).expect("an inlet can be written");
        let outlet = serde_json::to_string(&self.outlet).expect("an outlet can be written");
        self.inlet = serde_json::from_str(&inlet).expect("what was written is read");
        self.outlet = serde_json::from_str(&outlet).expect("what was written is read");
        assert_eq!(serde_json::to_string(&self.inlet).expect("it was written before"), inlet);
        assert_eq!(serde_json::to_string(&self.outlet).expect("it was written before"), outlet);
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

    /// Calls that it has not answered, and whether it was told that nothing waits for them.
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
