//! A fake peer: its socket, the messages it has read, and the calls it has not answered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::IoSlice,
};

use ipc_protocol::{Frame, Goodbye, Header, Identity, Kind, Message};
use ipcd::{
    core::{Class, Item, Moment, PeerId, Shed},
    front::{Dialect, Inlet, Outlet, Pool, Sheet},
};
use serde_json::Value;

use super::{Ticket, Token, json};

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: PeerId,
    pub(crate) identity: Identity,
    pub(crate) dialect: Dialect,
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
    /// Numbers of what it has sent without an id: in JSON-RPC, it isn't answered.
    unasked: BTreeSet<u64>,
    /// The batch that it is writing: the lines, and the numbers of those that are answered.
    batch: Option<(Vec<String>, BTreeSet<u64>)>,
    /// The numbers of each batch that isn't answered.
    batches: Vec<BTreeSet<u64>>,
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
    pub(crate) fn new(id: PeerId, identity: Identity, dialect: Dialect) -> Self {
        Self {
            id,
            identity,
            dialect,
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
            unasked: BTreeSet::new(),
            batch: None,
            batches: Vec::new(),
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
        self.batches.clear();
        self.kernel.clear();
        self.rest.clear();
        self.owes.clear();
    }

    /// Queues an item of the router, which carries `message`.
    pub(crate) fn queue(&mut self, item: Item<Token>, message: Message) {
        self.unread += item.cost;
        if self.speaks_json()
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
            match self.dialect {
                Dialect::Json => self.read_lines(),
                _ => self.read_frames(),
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

    /// Reads the lines that have come: each says the next message that there are words for, or answers a batch.
    fn read_lines(&mut self) {
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.part.drain(..=end).collect();
            let line: Value = serde_json::from_slice(&line).expect("a line is a message");
            match line {
                Value::Array(answers) => self.read_batch(&answers),
                line => self.read_line(&line),
            }
        }
        if self.has_read_all() {
            let left = self.sent.iter().find(|message| !self.may_be_left_out(message));
            assert!(left.is_none(), "never said: {left:?}");
            let numbers: BTreeSet<_> = self.sent.iter().filter_map(answered).collect();
            let is_read = !self.holds && self.kernel.is_empty() && self.rest.is_empty();
            let whole = self.batches.iter().find(|batch| is_read && batch.is_subset(&numbers));
            assert!(whole.is_none(), "never said, though whole: {whole:?}");
            let left = std::mem::take(&mut self.sent);
            self.sent = left.into_iter().filter(|message| self.is_batched(message)).collect();
        }
    }

    fn read_line(&mut self, line: &Value) {
        if let Some(event) = json::event(line) {
            self.events.push(event.clone());
            return self.inbox.push_back(event);
        }
        let at = self.sent.iter().position(|message| json::says(line, message) && !self.is_batched(message));
        let at = at.unwrap_or_else(|| panic!("{line} was not sent: {:?}", self.sent));
        let skipped = self.sent.iter().take(at).find(|message| !self.may_be_left_out(message));
        assert!(skipped.is_none(), "{line} comes before {skipped:?}");
        self.inbox.extend(self.sent.remove(at));
    }

    /// Reads the answers of a batch, which are in the order of its calls.
    fn read_batch(&mut self, answers: &[Value]) {
        let mut numbers = BTreeSet::new();
        for line in answers {
            let at = self.sent.iter().position(|message| json::says(line, message) && self.is_batched(message));
            let message = at.and_then(|at| self.sent.remove(at)).unwrap_or_else(|| panic!("{line} was not sent"));
            let number = answered(&message).expect("an answer");
            assert!(numbers.last().is_none_or(|last| *last < number), "{line} comes too late");
            numbers.insert(number);
            self.inbox.push_back(message);
        }
        let at = self.batches.iter().position(|batch| *batch == numbers).expect("all answers of a batch");
        self.batches.remove(at);
    }

    fn is_batched(&self, message: &Message) -> bool {
        answered(message).is_some_and(|id| self.batches.iter().any(|batch| batch.contains(&id)))
    }

    /// Whether there may be no words for a message, or it waits for others of its batch.
    fn may_be_left_out(&self, message: &Message) -> bool {
        match message {
            Message::Welcome(_) => true,
            message => self.is_batched(message) || answered(message).is_some_and(|id| self.unasked.contains(&id)),
        }
    }

    // ---- JSON-RPC

    pub(crate) fn speaks_json(&self) -> bool {
        self.dialect == Dialect::Json
    }

    /// The bytes of a message in its dialect; `None` if that has no words for it, or it goes into a batch.
    pub(crate) fn words(&mut self, message: &Message) -> Option<Vec<u8>> {
        if !self.speaks_json() {
            return Some(message.to_vec());
        }
        let line = json::write(message)?;
        let (Message::Call(ipc_protocol::Call { id, one_way, .. })
        | Message::Event(ipc_protocol::Event { id, one_way, .. })) = message
        else {
            return Some(line.into_bytes());
        };
        if *one_way {
            self.unasked.insert(*id);
        }
        let Some((lines, numbers)) = &mut self.batch else { return Some(line.into_bytes()) };
        lines.push(line);
        if !one_way {
            numbers.insert(*id);
        }
        None
    }

    /// From now on its calls and events go into a batch.
    pub(crate) fn open_batch(&mut self) {
        self.batch = Some(Default::default());
    }

    pub(crate) fn is_batching(&self) -> bool {
        self.batch.is_some()
    }

    /// The batch, unless there is nothing in it.
    pub(crate) fn close_batch(&mut self) -> Option<Vec<u8>> {
        let (lines, numbers) = self.batch.take()?;
        if !numbers.is_empty() {
            self.batches.push(numbers);
        }
        (!lines.is_empty()).then(|| format!("[{}]", lines.join(",")).into_bytes())
    }

    /// Whether answers of its batches wait for others.
    pub(crate) fn has_batches(&self) -> bool {
        !self.batches.is_empty()
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
            dialect: self.dialect,
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
            unasked: self.unasked.clone(),
            batch: self.batch.clone(),
            batches: self.batches.clone(),
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

/// The number of the call that a message answers.
fn answered(message: &Message) -> Option<u64> {
    match message {
        Message::Reply(reply) => Some(reply.id),
        Message::Error(failure) => Some(failure.id),
        _ => None,
    }
}
