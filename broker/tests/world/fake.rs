//! A fake peer: its socket, the messages it has read, and the calls it has not answered.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IoSlice,
};

use ipc_protocol::{Frame, Goodbye, Header, Identity, Kind, Message};
use ipcd::{
    core::{Class, Item, Moment, PeerId, Shed},
    front::{Inlet, Outlet, Pool, Sheet},
};

use super::{Ticket, Token, lines::Lines};

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: PeerId,
    pub(crate) identity: Identity,
    /// What it knows if it speaks JSON-RPC, and not in frames.
    pub(crate) lines: Option<Lines>,
    /// Whether it reads everything at once.
    pub(crate) reads: bool,
    /// The broker's half of its connection.
    pub(crate) inlet: Inlet,
    outlet: Outlet<Token>,
    /// What was dropped from it since the router was told.
    shed: Shed,
    /// The bytes of a frame that it has read in part.
    part: Vec<u8>,
    /// Events and gaps that it has read, for the ledger.
    events: Vec<Message>,
    /// Whether the broker has stopped reading from it, until there is room for its frame.
    pub(crate) parked: bool,
    /// Whether the inlet may hold messages that are not routed.
    pub(crate) holds: bool,
    /// Whether its messages wait until it has read.
    pub(crate) held_back: bool,
    /// When the router has heard of the message that comes next: its first bytes had come, and all before it was routed.
    pub(crate) begins: Option<Moment>,
    /// Whether it has finished sending.
    pub(crate) ended: bool,
    /// Bytes sent to the broker and not read there.
    pub(crate) kernel: Vec<u8>,
    /// The unsent rest of a frame, and the call in that frame.
    pub(crate) rest: Vec<u8>,
    pub(crate) cut_call: Option<Ticket>,
    /// The call that an unfinished frame answers.
    pub(crate) begun_answer: Option<u64>,
    /// The call that an unfinished item belongs to.
    pub(crate) begun_item: Option<(u64, bool)>,
    /// The messages in the outlet, which the peer has not read. Events are not among them, because they may be dropped.
    sent: VecDeque<Message>,
    /// The cost of the items in the outlet.
    unread: usize,
    /// Memory that the kernel holds for it, as the router knows.
    pub(crate) sunk: usize,
    /// Whether an item was queued since the last write.
    dirty: bool,
    /// Read by the peer, not yet looked at by the test.
    pub(crate) inbox: VecDeque<Message>,
    pub(crate) last_call: u64,
    /// The router's reason for cutting the connection.
    pub(crate) goodbye: Option<Goodbye>,
    number: Option<u64>,
    open: bool,
    owes: BTreeMap<u64, Owed>,
}

/// A call that was delivered to the peer and not answered.
#[derive(Clone, Debug)]
struct Owed {
    ticket: Ticket,
    cancelled: bool,
}

impl Fake {
    pub(crate) fn new(id: PeerId, identity: Identity, lines: Option<Lines>) -> Self {
        Self {
            id,
            identity,
            lines,
            reads: true,
            inlet: Inlet::default(),
            outlet: Outlet::new(),
            shed: Shed::default(),
            part: Vec::new(),
            events: Vec::new(),
            parked: false,
            holds: false,
            held_back: false,
            begins: None,
            ended: false,
            kernel: Vec::new(),
            rest: Vec::new(),
            cut_call: None,
            begun_answer: None,
            begun_item: None,
            sent: VecDeque::new(),
            unread: 0,
            sunk: 0,
            dirty: false,
            inbox: VecDeque::new(),
            last_call: 0,
            goodbye: None,
            number: None,
            open: true,
            owes: BTreeMap::new(),
        }
    }

    /// Its own number, from welcome.
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

    /// Queues an item of the router, which carries `message`.
    pub(crate) fn queue(&mut self, item: Item<Token>, message: Message) {
        self.unread += item.cost;
        if self.lines.is_some()
            && let Message::Welcome(welcome) = &message
        {
            self.number = Some(welcome.peer.0); // it isn't told
        }
        if !matches!(item.class, Class::Droppable(_)) {
            self.sent.push_back(message);
        }
        let shed = self.outlet.push(item, &mut Pool::new());
        self.unread -= shed.cost;
        self.shed.add(shed);
        self.dirty = true;
    }

    /// Whether a write is due: something was queued, or the peer has begun to read.
    pub(crate) fn is_to_be_written(&self) -> bool {
        self.open && (self.dirty || self.reads && !self.outlet.is_empty())
    }

    /// Writes to the peer, and returns the cost of the items that it took.
    pub(crate) fn write(&mut self) -> usize {
        self.dirty = false;
        if self.reads {
            return self.read_all();
        }
        self.outlet.detach();
        0
    }

    /// Reads everything, and returns the cost of the items.
    pub(crate) fn read_all(&mut self) -> usize {
        self.read(usize::MAX)
    }

    /// Reads up to `bytes` bytes, and returns the cost of the items that are complete.
    pub(crate) fn read(&mut self, mut bytes: usize) -> usize {
        let (mut sheet, mut cost) = (Sheet::new(), 0);
        self.outlet.arrange(&mut self.inlet, &mut Pool::new());
        while bytes > 0 && !self.outlet.is_empty() {
            self.outlet.encode(&self.inlet, &mut sheet);
            let len = bytes.min(sheet.len());
            let mut slices = [IoSlice::new(&[]); Sheet::PIECES];
            let count = sheet.pieces(&mut slices);
            let taken = slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(len);
            self.part.extend(taken);
            cost += self.outlet.wrote(len, &sheet, &mut self.inlet, &mut Pool::new()).cost;
            bytes -= len;
            match self.lines {
                Some(_) => self.read_lines(),
                None => self.read_frames(),
            }
        }
        self.outlet.detach();
        self.unread -= cost;
        cost
    }

    /// Reads the frames that have come.
    fn read_frames(&mut self) {
        while let Some(header) = self.part.first_chunk().and_then(Header::from_bytes)
            && self.part.len() >= header.frame_len()
        {
            let frame: Vec<_> = self.part.drain(..header.frame_len()).collect();
            let message = match header.kind {
                Kind::EVENT | Kind::GAP => {
                    let frame = Frame::from_datagram(frame.into(), u32::MAX).expect("a frame");
                    let message = Message::decode(frame).expect("what the router sends can be read");
                    self.events.push(message.clone());
                    message
                }
                _ => self.sent.pop_front().expect("what is read was sent"),
            };
            if let Message::Welcome(welcome) = &message {
                self.number = Some(welcome.peer.0);
            }
            self.inbox.push_back(message);
        }
    }

    /// Reads the lines that have come.
    fn read_lines(&mut self) {
        let Some(lines) = &mut self.lines else { return };
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.part.drain(..=end).collect();
            let messages = lines.read(&line, &mut self.sent);
            let is_event = |message: &&Message| matches!(message, Message::Event(_) | Message::Gap(_));
            self.events.extend(messages.iter().filter(is_event).cloned());
            self.inbox.extend(messages);
        }
        if self.outlet.is_empty() && self.part.is_empty() {
            let is_heard = !self.holds && self.kernel.is_empty() && self.rest.is_empty();
            lines.assert_all_said(&mut self.sent, is_heard);
        }
    }

    /// The bytes of a message in its dialect; `None` if that has no words for it, or it goes into a batch.
    pub(crate) fn words(&mut self, message: &Message) -> Option<Vec<u8>> {
        match &mut self.lines {
            Some(lines) => lines.write(message),
            None => Some(message.to_vec()),
        }
    }

    /// Has it written although nothing was queued.
    pub(crate) fn mark(&mut self) {
        self.dirty = true;
    }

    /// Takes the events and gaps that it has read since the last time.
    pub(crate) fn take_events(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.events)
    }

    /// Takes what was dropped of its events since the last time.
    pub(crate) fn take_shed(&mut self) -> Shed {
        std::mem::take(&mut self.shed)
    }

    /// Whether it has read all that it was sent.
    pub(crate) fn has_read_all(&self) -> bool {
        self.outlet.is_empty() && self.part.is_empty()
    }

    /// Whether it has said hello, and the router has answered.
    pub(crate) fn has_greeted(&self) -> bool {
        self.number.is_some() || self.sent.iter().any(|message| matches!(message, Message::Welcome(_)))
    }

    /// The cost of the items that it has not read, as far as the router knows.
    pub(crate) fn unread(&self) -> usize {
        self.unread + self.shed.cost
    }

    /// The same as the router knows it, which is told of dropped events after the next write.
    pub(crate) fn unread_as_told(&self) -> usize {
        self.unread + self.shed.cost
    }

    /// A second one in the same state.
    pub(crate) fn fork(&self) -> Self {
        let inlet = serde_json::to_string(&self.inlet).expect("an inlet can be written");
        let outlet = serde_json::to_string(&self.outlet).expect("an outlet can be written");
        Self {
            id: self.id,
            identity: self.identity.clone(),
            lines: self.lines.clone(),
            reads: self.reads,
            inlet: serde_json::from_str(&inlet).expect("serialised state can be read"),
            outlet: serde_json::from_str(&outlet).expect("serialised state can be read"),
            parked: self.parked,
            holds: self.holds,
            held_back: self.held_back,
            begins: self.begins,
            ended: self.ended,
            kernel: self.kernel.clone(),
            rest: self.rest.clone(),
            cut_call: self.cut_call,
            begun_answer: self.begun_answer,
            shed: self.shed,
            part: self.part.clone(),
            events: self.events.clone(),
            begun_item: self.begun_item,
            sent: self.sent.clone(),
            unread: self.unread,
            sunk: self.sunk,
            dirty: self.dirty,
            inbox: self.inbox.clone(),
            last_call: self.last_call,
            goodbye: self.goodbye.clone(),
            number: self.number,
            open: self.open,
            owes: self.owes.clone(),
        }
    }

    /// Serialises its connection, and goes on with what another process reads from that.
    pub(crate) fn hand_over(&mut self) {
        let inlet = serde_json::to_string(&self.inlet).expect("an inlet can be written");
        let outlet = serde_json::to_string(&self.outlet).expect("an outlet can be written");
        self.inlet = serde_json::from_str(&inlet).expect("serialised state can be read");
        self.outlet = serde_json::from_str(&outlet).expect("serialised state can be read");
        assert_eq!(serde_json::to_string(&self.inlet).expect("it was written before"), inlet);
        assert_eq!(serde_json::to_string(&self.outlet).expect("it was written before"), outlet);
    }

    /// Notes a call that was delivered to it.
    pub(crate) fn owe(&mut self, id: u64, ticket: Ticket) {
        let before = self.owes.insert(id, Owed { ticket, cancelled: false });
        assert!(before.is_none(), "two calls are delivered as {id:#x}");
    }

    /// The number of calls that it has not answered.
    pub(crate) fn owes(&self) -> usize {
        self.owes.len()
    }

    /// Notes its answer to a call; `None` if it has no call with this number.
    pub(crate) fn answer(&mut self, id: u64) -> Option<Ticket> {
        self.owes.remove(&id).map(|owed| owed.ticket)
    }

    /// The call that it has not answered and owes with this number.
    pub(crate) fn owed_as(&self, id: u64) -> Option<Ticket> {
        self.owes.get(&id).map(|owed| owed.ticket)
    }

    /// Calls that it has not answered, and whether it has received a cancel of each.
    pub(crate) fn owed(&self) -> impl Iterator<Item = (Ticket, bool)> {
        self.owes.values().map(|owed| (owed.ticket, owed.cancelled))
    }

    /// Notes the router's cancel of a call.
    pub(crate) fn cancel(&mut self, id: u64) {
        let owed = self.owes.get_mut(&id).expect("only calls that the peer has not answered are cancelled");
        assert!(!owed.cancelled, "call {id:#x} is cancelled twice");
        owed.cancelled = true;
    }
}
