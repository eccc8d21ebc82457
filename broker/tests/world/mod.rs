//! A world for the router: fake peers and a virtual clock around the pure core, and a ledger that proves its promises.
//!
//! It does what `server` does, without sockets: what the router sends lies in a fake peer's outbox until the peer reads it (peers
//! read at once, unless told to pause), a cut peer hears goodbye and is disconnected, and deadlines fire when the clock is moved.
//! After every single step the invariants of the router are checked, and the [`Ledger`] checks what left it: each call ends exactly
//! once, a call whose error says `retry: safe` was never delivered, nobody who reads is cut for not reading.
//!
//! Used by the stories (`stories/`), the random walks (`walks.rs`) and the fuzz target `core_ops`.
#![allow(dead_code, reason = "each test file uses its own part of the world")]

mod dice;
mod directory;
mod expect;
mod fake;
mod ledger;
mod operate;
mod request;
pub(crate) mod walk;

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_protocol::{Frame, Goodbye, Identity, Message};
use ipcd::core::{Event, Limits, Moment, Output, Outputs, PeerId, Policy, Router};

use directory::Directory;
use fake::Fake;
use ledger::{Arrival, Ledger, Sender};

pub(crate) use dice::Dice;
pub(crate) use ledger::Ticket;
pub(crate) use operate::{Delivered, registration};
pub(crate) use request::Request;

/// The user that the broker runs as.
pub(crate) const OWNER: u32 = 1000;

/// A router and everybody around it.
pub(crate) struct World {
    router: Router,
    now: Moment,
    out: Outputs,
    fakes: Vec<Fake>,
    by_id: BTreeMap<u64, Peer>,
    ledger: Ledger,
    directory: Directory,
    datagrams: u64,
    /// Whether the sockets of datagram senders take answers.
    takes_answers: bool,
    /// What was answered to senders of datagrams, by their address.
    answers: Vec<(Vec<u8>, Message)>,
    log: Vec<Event>,
}

/// A fake peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer(usize);

impl World {
    /// A world with the default limits.
    pub(crate) fn new() -> Self {
        Self::with_limits(|_| {})
    }

    /// A world whose limits differ from the defaults.
    pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        Self {
            router: Router::new(limits, Policy::new(OWNER), "world"),
            now: Moment(1_000_000_000),
            out: Outputs::new(),
            fakes: Vec::new(),
            by_id: BTreeMap::new(),
            ledger: Ledger::default(),
            directory: Directory::default(),
            datagrams: 0,
            takes_answers: true,
            answers: Vec::new(),
            log: Vec::new(),
        }
    }

    /// One step of the router, and everything that follows from it until nobody has anything to do.
    fn step<T>(&mut self, run: impl FnOnce(&mut Router, Moment, &mut Outputs) -> T) -> T {
        let result = run(&mut self.router, self.now, &mut self.out);
        self.carry_out();
        self.flush();
        result
    }

    /// Does what the router wants done, as `server` does it.
    fn carry_out(&mut self) {
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                self.carry_out_one(output);
            }
        }
        self.router.assert_invariants();
        self.assert_told();
    }

    /// Services know, of each call that they work on, whether somebody still waits for it.
    fn assert_told(&self) {
        for (ticket, told) in self.fakes.iter().flat_map(Fake::owed) {
            let is_awaited = self.ledger.is_awaited(ticket);
            assert!(
                is_awaited.is_none_or(|awaited| awaited != told),
                "{ticket:?}: awaited {is_awaited:?}, cancelled {told}"
            );
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.queue(to, message),
            Output::SendDatagram { to, message } => self.answer(to.name().to_vec(), message),
            Output::Cut { peer, goodbye } => self.cut(peer, goodbye),
            Output::Log(event) if event.is_detail() => {}
            Output::Log(event) => self.log.push(event),
            other => panic!("the world does not know {other:?}"),
        }
    }

    fn queue(&mut self, to: PeerId, message: Message) {
        check_wire(&message);
        let peer = *self.by_id.get(&to.to_bits()).expect("messages go to peers that connected");
        if self.fakes[peer.0].is_open() {
            self.observe(peer, &message);
            self.fakes[peer.0].queue(message);
        }
    }

    fn answer(&mut self, address: Vec<u8>, message: Message) {
        check_wire(&message);
        self.ledger.ended(Sender::Datagram, &message, self.now);
        match self.takes_answers {
            true => self.answers.push((address, message)),
            false => self.router.datagram_dropped(),
        }
    }

    /// Enters into the books what the router sends.
    fn observe(&mut self, to: Peer, message: &Message) {
        match message {
            Message::Call(call) => {
                let arrival = Arrival { to, call, number: self.fakes[to.0].number(), now: self.now };
                let ticket = self.ledger.delivered(&arrival, &self.directory);
                self.check_stamp(ticket, call);
                self.fakes[to.0].owe(call.id, ticket);
                let (owed, window) = (self.fakes[to.0].owes(), self.directory.window(to));
                assert!(
                    window.is_none_or(|window| owed <= window),
                    "{to:?} has {owed} calls, its window is {window:?}"
                );
            }
            Message::Reply(_) | Message::Error(_) => {
                let asked = self.ledger.ended(Sender::Peer(to), message, self.now);
                self.directory.note(to, asked, message);
            }
            Message::Cancel(cancel) => self.fakes[to.0].cancel(cancel.id),
            Message::Welcome(_) | Message::Pong(_) | Message::Ping(_) => {}
            other => panic!("the router sent {other:?}"),
        }
    }

    fn check_stamp(&self, ticket: Ticket, call: &ipc_protocol::Call) {
        let (identity, number) = Identity::from_stamp(&call.caller).expect("a delivered call is stamped");
        match self.ledger.sender(ticket) {
            Sender::Peer(caller) => {
                let caller = &self.fakes[caller.0];
                assert_eq!((&identity, number.map(|number| number.0)), (&caller.identity, Some(caller.number())));
            }
            Sender::Datagram => assert_eq!((identity.uid, number), (self.ledger.uid(ticket), None)),
        }
    }

    fn cut(&mut self, id: PeerId, goodbye: Goodbye) {
        let peer = *self.by_id.get(&id.to_bits()).expect("peers that connected are cut");
        let fake = &mut self.fakes[peer.0];
        if !fake.is_open() {
            return;
        }
        let blamed = goodbye.text.contains("wait to be read");
        assert!(!(blamed && fake.reads), "{peer:?} reads, and was cut: {}", goodbye.text);
        if fake.reads {
            fake.read_all();
        }
        fake.goodbye = Some(goodbye);
        self.close(peer);
    }

    fn close(&mut self, peer: Peer) {
        self.fakes[peer.0].close();
        self.ledger.withdraw(peer);
        self.directory.forget(peer);
        self.router.disconnect(self.fakes[peer.0].id, &mut self.out);
    }

    /// Writes everything: who reads takes it all, who does not takes nothing.
    fn flush(&mut self) {
        while let Some(peer) = self.fakes.iter().position(Fake::is_to_be_written) {
            let bytes = self.fakes[peer].write();
            self.router.sent(self.now, self.fakes[peer].id, bytes, &mut self.out);
            self.carry_out();
        }
    }
}

/// What the router sends is what the other side takes.
fn check_wire(message: &Message) {
    let bytes = message.to_vec();
    assert_eq!(bytes.len(), message.frame_len(), "the length that is charged for {message:?}");
    let frame = Frame::from_datagram(Bytes::from(bytes.clone()), u32::MAX);
    let decoded = frame.map(Message::decode).unwrap_or_else(|error| panic!("{error:?} in {message:?}"));
    let decoded = decoded.unwrap_or_else(|violation| panic!("{violation} in {message:?}"));
    assert_eq!(decoded.to_vec(), bytes, "{message:?} is read as {decoded:?}");
}
