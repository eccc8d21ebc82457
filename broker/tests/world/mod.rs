//! A world for the router: fake peers and a virtual clock around the pure core, and a ledger that checks its promises.
//!
//! It does what `server` does, without sockets. What the router sends stays in a fake peer's outlet until the peer reads it (peers
//! read at once, unless told to pause), a cut peer receives goodbye and is disconnected, and deadlines fire as the clock is moved.
//! After each step the router's invariants are checked, and the [`Ledger`] checks its output: each call ends exactly once, a call
//! whose error says `retry: safe` was never delivered, and no peer that reads is cut for not reading.
//!
//! A peer speaks frames or, in a [mixed](World::mix) world, JSON-RPC: then it says what the test has it say in lines, and each line that it
//! reads is compared with what the router has sent.
//!
//! Used by the stories (`stories/`), the random walks (`walks.rs`) and the fuzz targets `core_ops`, `events` and `streams`.
#![allow(dead_code, reason = "each test file uses its own part of the world")]

mod dice;
mod directory;
mod events;
mod expect;
mod fake;
mod json;
mod ledger;
mod lines;
mod locks;
mod model;
mod operate;
mod request;
pub(crate) mod script;
mod streams;
mod subscribing;
mod token;
pub(crate) mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use ipc_protocol::{Body, Frame, Goodbye, Identity, Kind, Message, wire};
use ipcd::{
    core::{Event, Input, Item, Limits, Moment, Output, PeerId, Policy, Router, Shed, Turn},
    front::Incoming,
};

use events::Events;
use fake::Fake;
use ledger::{Arrival, Asked, Ledger, Sender};
use lines::Lines;
use locks::Locks;
use model::{Model, Promise};

pub(crate) use dice::{Counter, Dice};
pub(crate) use ledger::Ticket;
pub(crate) use operate::{Delivered, registration};
pub(crate) use request::Request;
#[allow(unused_imports, reason = "each test file uses its own part of the world")]
pub(crate) use subscribing::subscription;
pub(crate) use token::Token;

/// The user id that the broker runs as.
pub(crate) const OWNER: u32 = 1000;

/// A router and everything around it.
pub(crate) struct World {
    router: Router<Token>,
    now: Moment,
    out: Vec<Output<Token>>,
    fakes: Vec<Fake>,
    /// Whether every third peer speaks JSON-RPC.
    is_mixed: bool,
    by_id: BTreeMap<u64, Peer>,
    ledger: Ledger,
    model: Model,
    pub(crate) events: Events,
    locks: Locks,
    datagrams: u64,
    /// Whether answers to datagrams can be sent.
    takes_answers: bool,
    /// Answers to datagrams, each with its address.
    answers: Vec<(Vec<u8>, Message)>,
    log: Vec<Event>,
    /// Peers whose inlet may hold something to route, from reads of this turn.
    unrouted: Vec<Peer>,
    /// Turns so far.
    turns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer(usize);

impl World {
    /// A world with the default limits.
    pub(crate) fn new() -> Self {
        Self::with_limits(|_| {})
    }

    /// A world with the default limits, changed by `change`.
    pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        Self {
            router: Router::new(limits, Policy::new(OWNER), "world"),
            now: Moment(1_000_000_000),
            out: Vec::new(),
            fakes: Vec::new(),
            is_mixed: false,
            by_id: BTreeMap::new(),
            ledger: Ledger::default(),
            model: Model::default(),
            events: Events::default(),
            locks: Locks::default(),
            datagrams: 0,
            takes_answers: true,
            answers: Vec::new(),
            log: Vec::new(),
            unrouted: Vec::new(),
            turns: 0,
        }
    }

    /// Takes one step of the router, and everything that follows from it.
    fn step<T>(&mut self, run: impl FnOnce(&mut Router<Token>, Moment, &mut Vec<Output<Token>>) -> T) -> T {
        self.model.begin_step();
        let seen = self.out.len();
        let result = run(&mut self.router, self.now, &mut self.out);
        self.model.check_outputs(&self.out[seen..]);
        self.carry_out();
        self.flush();
        result
    }

    /// Passes an input to the router, and does everything that follows from it.
    fn tell(&mut self, input: Input<'_, Token>) {
        self.pass(input);
        self.carry_out();
        self.flush();
    }

    /// Passes an input to the router, and lets the model look at both sides of it.
    fn pass(&mut self, input: Input<'_, Token>) {
        self.model.note_input(&input);
        let seen = self.out.len();
        self.router.handle(self.now, input, &mut self.out);
        self.model.check_outputs(&self.out[seen..]);
        for output in self.out.split_off(seen) {
            if let Output::Skip { peer } = &output {
                self.note_skipped(self.by_id[&peer.to_bits()]);
            }
            match output {
                Output::Send { to, item } => self.queue(to, item), // at once, so that the model knows it before the next input
                Output::SendDatagram { to, message, .. } => self.answer(to.name().to_vec(), &message),
                other => self.out.push(other),
            }
        }
    }

    /// A frame is skipped. If it is an answer, its header is enough to count as one.
    fn note_skipped(&mut self, peer: Peer) {
        if let Some(id) = self.fakes[peer.0].begun_answer.take() {
            self.note_answer(peer, id, Promise::TooLong);
        }
        if let Some(item) = self.fakes[peer.0].begun_item.take() {
            self.note_skipped_item(peer, item);
        }
    }

    /// Carries out the router's outputs and has turns, as `server` does, until no peer waits for one.
    fn carry_out(&mut self) {
        loop {
            while !self.out.is_empty() {
                for output in std::mem::take(&mut self.out) {
                    self.carry_out_one(output);
                }
            }
            self.router.assert_invariants();
            self.assert_model();
            match self.router.next_turn() {
                Some(turn) => self.take_turn(turn),
                None if self.unrouted.is_empty() && self.router.next_turn_at().is_none() => return,
                None => {
                    self.keep_unrouted();
                    // No time passes within a step, but strangers have a turn only as it does.
                    self.turns += 1;
                    self.router.begin_turn(self.now.after(Duration::from_millis(self.turns)));
                }
            }
        }
    }

    /// A peer's turn: reads once, unless something is left of an earlier read, and routes what the turn allows.
    fn take_turn(&mut self, turn: Turn) {
        let peer = self.by_id[&turn.peer.to_bits()];
        let fake = &mut self.fakes[peer.0];
        if fake.held_back {
            self.ledger.hold_back(Sender::Peer(peer));
        }
        if fake.is_open() && !fake.parked && !fake.held_back {
            if !fake.holds && !fake.kernel.is_empty() {
                let read: Vec<_> = fake.kernel.drain(..turn.bytes.min(fake.kernel.len())).collect();
                self.router.note_read(read.len());
                fake.inlet.feed(read.into());
                fake.holds = true;
            }
            while self.fakes[peer.0].holds {
                if !self.router.may_send(turn.peer) {
                    self.fakes[peer.0].held_back = true;
                    self.ledger.hold_back(Sender::Peer(peer));
                    break;
                }
                self.route_one(peer);
                self.router.assert_invariants();
                if self.router.is_over(&turn) {
                    break;
                }
            }
            let fake = &self.fakes[peer.0];
            if fake.holds {
                self.unrouted.push(peer);
            }
            if !fake.held_back && (fake.holds || !fake.kernel.is_empty()) {
                self.router.ready(turn.peer);
            }
            self.settle(peer);
        }
        self.router.end_turn(turn);
    }

    /// Has charged what a dialect keeps, and has a batch written whose answers are all there, as `server` does.
    fn settle(&mut self, peer: Peer) {
        let fake = &mut self.fakes[peer.0];
        if fake.inlet.wants_write() {
            fake.mark();
        }
        if let Some(bytes) = fake.inlet.take_kept() {
            let by = fake.id;
            self.pass(Input::Kept { by, bytes });
        }
    }

    /// Has charged what is not routed in this turn, as `server` does.
    fn keep_unrouted(&mut self) {
        for peer in std::mem::take(&mut self.unrouted) {
            let fake = &mut self.fakes[peer.0];
            if fake.is_open() && fake.holds {
                fake.inlet.detach();
                let (from, held) = (fake.id, fake.inlet.held());
                if held > 0 {
                    fake.begins.get_or_insert(self.now);
                    self.pass(Input::Partial { from, held });
                    self.router.assert_invariants();
                }
            }
        }
    }

    /// Routes the next item of a peer's inlet, as `server` does.
    fn route_one(&mut self, peer: Peer) {
        let fake = &mut self.fakes[peer.0];
        let from = fake.id;
        let mut message = wire::Message::Pong(0);
        let input = match fake.inlet.next(&mut message) {
            Ok(Some(Incoming::Message)) => Input::Message { from, message: &mut message },
            Ok(Some(Incoming::Misnamed { id, error })) => Input::Misnamed { from, id, error },
            Ok(Some(Incoming::Malformed { id, code, text })) => Input::Malformed { from, id, code, text },
            Ok(Some(Incoming::Skipped)) => Input::Skipped { from },
            Ok(Some(Incoming::Begun(frame))) => {
                let began = *fake.begins.get_or_insert(self.now);
                fake.begun_answer = matches!(frame.kind, Kind::REPLY | Kind::ERROR).then_some(frame.id);
                fake.begun_item = (frame.kind == Kind::ITEM).then_some((frame.id, frame.delivered));
                fake.holds = false; // until the decision is carried out
                if frame.kind == Kind::CALL {
                    self.ledger.begin(Sender::Peer(peer), frame.id, deadline(began, self.router.limits()));
                }
                return self.pass(Input::Begun { from, frame });
            }
            Ok(None) => {
                fake.holds = false;
                match fake.inlet.partial() {
                    Some(held) => {
                        fake.begins.get_or_insert(self.now);
                        return self.pass(Input::Partial { from, held });
                    }
                    None => return,
                }
            }
            Err(violation) => {
                fake.holds = false;
                return self.pass(Input::Violation { from, violation });
            }
        };
        match &input {
            Input::Message { message: wire::Message::Call(wire::Call { id, .. }), .. } | Input::Misnamed { id, .. } => {
                self.route_call(peer, *id);
            }
            _ => self.fakes[peer.0].begins = None,
        }
        if let Input::Message { message: answer, .. } = &input
            && let wire::Message::Reply(wire::Reply { id, .. }) | wire::Message::Error(wire::Failure { id, .. }) =
                answer
        {
            let (id, answer) = (*id, plain(answer));
            self.note_answer(peer, id, Promise::Answer(answer));
        }
        if let Input::Message { message, .. } = &input {
            self.note_stream(peer, message);
        }
        if let Input::Message { message: wire::Message::Event(event), .. } = &input {
            let (topic, kept) = (event.topic().to_owned(), event.retained.then(|| event.body.to_vec()));
            self.events.publish(peer, event.id);
            self.pass(input);
            return self.check_published(peer, &topic, kept);
        }
        self.pass(input);
    }

    /// Notes that a call of a peer is routed now. Its time runs from when the router first heard of it.
    fn route_call(&mut self, from: Peer, id: u64) {
        let began = self.fakes[from.0].begins.take().unwrap_or(self.now);
        let deadline = deadline(began, self.router.limits());
        self.ledger.route(Sender::Peer(from), id, deadline, &self.model.directory);
    }

    /// Checks that an event was sent to exactly those who want it, or was refused.
    fn check_published(&mut self, by: Peer, topic: &str, kept: Option<Vec<u8>>) {
        let (sent, is_refused) = self.events.published();
        // Its publisher may be cut for what it has sent before, or for not reading the answer.
        let id = self.fakes[by.0].id;
        let leaves =
            |output: &Output<Token>| matches!(output, Output::Cut { peer, .. } | Output::Close { peer } if id == *peer);
        let is_cut = sent.is_empty() && self.out.iter().any(leaves);
        if is_refused || is_cut || self.model.is_stopped() || !self.fakes[by.0].has_greeted() {
            return assert_eq!(sent, BTreeSet::new(), "subscriptions of {topic}, which {by:?} may not publish");
        }
        let wanted = self.events.of_topic(topic, |peer| self.fakes[peer.0].is_open());
        assert_eq!(sent, wanted, "subscriptions of {topic}, published by {by:?}");
        if let Some(body) = kept {
            self.events.keep(topic, &body);
        }
    }

    fn carry_out_one(&mut self, output: Output<Token>) {
        match output {
            Output::Send { to, item } => self.queue(to, item),
            Output::Assemble { peer, granted } => self.resume(peer, |fake| fake.inlet.assemble(granted)),
            Output::Skip { peer } => {
                self.resume(peer, |fake| fake.inlet.skip());
            }
            Output::Park { peer } => {
                let peer = self.by_id[&peer.to_bits()];
                self.fakes[peer.0].inlet.detach();
                self.fakes[peer.0].parked = true;
            }
            Output::Cut { peer, goodbye } => self.cut(peer, goodbye),
            Output::Close { peer } => {
                let peer = self.by_id[&peer.to_bits()];
                if self.fakes[peer.0].is_open() {
                    self.close(peer);
                }
            }
            Output::Log(event) if event.is_detail() => {}
            Output::GiveBack => {}
            Output::Log(event) => self.log.push(event),
            other => panic!("the world cannot carry out {other:?}"),
        }
    }

    fn resume(&mut self, id: PeerId, how: impl FnOnce(&mut Fake)) {
        let peer = self.by_id[&id.to_bits()];
        let fake = &mut self.fakes[peer.0];
        if fake.is_open() {
            how(fake);
            fake.parked = false;
            fake.holds = true;
            self.unrouted.push(peer);
            self.router.ready(id);
        }
    }

    fn queue(&mut self, to: PeerId, item: Item<Token>) {
        let message = plain(&item.message);
        check_wire(&message);
        let peer = *self.by_id.get(&to.to_bits()).expect("messages go to peers that connected");
        if self.fakes[peer.0].is_open() {
            self.observe(peer, &message);
            self.fakes[peer.0].queue(item, message);
        }
    }

    fn answer(&mut self, address: Vec<u8>, message: &wire::Message<Token>) {
        let message = plain(message);
        check_wire(&message);
        let ended = self.ledger.ended(Sender::Datagram, &message, self.now);
        self.model.check_end(&ended, self.router.limits(), |peer| self.fakes[peer.0].is_open());
        match self.takes_answers {
            true => self.answers.push((address, message)),
            false => self.pass(Input::DatagramUnanswered),
        }
    }

    /// Records a message of the router in the ledger.
    fn observe(&mut self, to: Peer, message: &Message) {
        match message {
            Message::Call(call) => {
                let from = self.sender_by_stamp(call);
                let arrival = Arrival { from, to, call, number: self.fakes[to.0].number(), now: self.now };
                let ticket = self.ledger.delivered(&arrival, &self.model.directory);
                self.check_stamp(ticket, call);
                self.fakes[to.0].owe(call.id, ticket);
                self.model.streams.deliver(to, call.id, ticket);
                let (owed, window) = (self.fakes[to.0].owes(), self.model.directory.window(to));
                assert!(
                    window.is_none_or(|window| owed <= window),
                    "{to:?} has {owed} calls, its window is {window:?}"
                );
            }
            Message::Event(event) => self.events.sent(to, event),
            Message::Reply(_) | Message::Error(_) if self.events.is_answer(to, message) => {}
            Message::Reply(_) | Message::Error(_) => {
                let ended = self.ledger.ended(Sender::Peer(to), message, self.now);
                if !ended.is_answered {
                    self.model.streams.check_end(&ended, self.fakes.iter().any(|fake| !fake.reads));
                }
                self.model.check_end(&ended, self.router.limits(), |peer| self.fakes[peer.0].is_open());
                self.locks.note(to, &ended);
                let (ticket, asked) = (ended.ticket, ended.request.asked.clone());
                self.events.note(to, &asked, message);
                if let (Asked::Lock { name, .. }, Message::Reply(_)) = (&asked, message) {
                    self.assert_first_in_line(ticket, name);
                }
                self.model.directory.note(to, asked, message);
            }
            Message::Cancel(cancel) => {
                self.fakes[to.0].cancel(cancel.id);
                self.check_cancelled_stream(to, cancel);
            }
            Message::Item(_) | Message::End(_) | Message::Credit(_) => self.observe_stream(to, message),
            Message::Welcome(_) | Message::Pong(_) | Message::Ping(_) => {}
            other => panic!("the router sent {other:?}"),
        }
    }

    fn sender_by_stamp(&self, call: &ipc_protocol::Call) -> Sender {
        let (_, number) = Identity::from_stamp(&call.caller).expect("a delivered call is stamped");
        let is_it = |fake: &Fake| fake.has_number() && Some(fake.number()) == number.map(|number| number.0);
        self.fakes.iter().position(is_it).map_or(Sender::Datagram, |at| Sender::Peer(Peer(at)))
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
        let blamed = goodbye.text.contains("wait to be read") && !fake.lines.as_ref().is_some_and(Lines::has_batches);
        assert!(!(blamed && fake.reads), "{peer:?} reads, but was cut: {}", goodbye.text);
        if fake.reads {
            fake.read_all();
        }
        self.note_read(peer);
        let fake = &mut self.fakes[peer.0];
        fake.goodbye = Some(goodbye);
        self.close(peer);
    }

    fn close(&mut self, peer: Peer) {
        self.fakes[peer.0].close();
        self.ledger.withdraw(peer);
        self.model.directory.forget(peer);
        self.events.forget(peer);
        self.locks.forget(peer);
        let id = self.fakes[peer.0].id;
        self.pass(Input::Closed { peer: id });
    }

    /// Writes to all peers: one that reads takes everything, one that pauses takes nothing.
    fn flush(&mut self) {
        while let Some(peer) = self.fakes.iter().position(Fake::is_to_be_written) {
            let cost = self.fakes[peer].write();
            self.note_written(Peer(peer), cost);
            self.let_go(Peer(peer));
            self.carry_out();
        }
    }

    /// Tells the router what a peer's socket has taken, and what was dropped before.
    fn note_written(&mut self, peer: Peer, cost: usize) {
        self.note_read(peer);
        let fake = &mut self.fakes[peer.0];
        let (to, shed) = (fake.id, fake.take_shed());
        if shed != Shed::default() {
            self.pass(Input::Shed { to, shed });
        }
        self.pass(Input::Written { to, cost });
        self.speak_for(peer);
    }

    /// What a dialect says in its peer's place, after a write.
    fn speak_for(&mut self, peer: Peer) {
        let mut message = wire::Message::Pong(0);
        while self.fakes[peer.0].inlet.say(&mut message) {
            let from = self.fakes[peer.0].id;
            self.note_stream(peer, &message);
            self.pass(Input::Message { from, message: &mut message });
        }
        self.settle(peer);
    }

    /// Compares the events that a peer has read with those that it was sent.
    fn note_read(&mut self, peer: Peer) {
        for message in self.fakes[peer.0].take_events() {
            self.events.received(peer, &message);
        }
        if self.fakes[peer.0].has_read_all() {
            self.events.assert_told(peer);
        }
    }

    /// Continues with the messages of a peer that were held back, if it has read by now.
    fn let_go(&mut self, peer: Peer) {
        let fake = &mut self.fakes[peer.0];
        if fake.is_open() && fake.held_back && self.router.may_send(fake.id) {
            fake.held_back = false;
            self.router.ready(fake.id);
        }
    }
}

/// The deadline of a call that began to arrive then, by its timeout in milliseconds.
fn deadline(began: Moment, limits: &Limits) -> impl Fn(u32) -> Moment {
    move |timeout_ms| began.after(limits.timeout(timeout_ms))
}

/// A message as the ledger records it: a body in a descriptor becomes one word.
fn plain(message: &wire::Message<Token>) -> Message {
    let body = |body: &Body<Token>| match body {
        Body::Inline { bytes, .. } => bytes.clone().into(),
        Body::Fd(_) => DESCRIPTOR.into(),
    };
    match message {
        wire::Message::Call(call) => Message::Call(ipc_protocol::Call {
            id: call.id,
            one_way: call.one_way,
            streams: call.streams,
            encoding: call.encoding,
            timeout_ms: call.timeout_ms,
            caller: call.caller.clone(),
            routing: call.routing.clone(),
            body: body(&call.body),
        }),
        wire::Message::Reply(reply) => {
            Message::Reply(ipc_protocol::Reply { id: reply.id, encoding: reply.encoding, body: body(&reply.body) })
        }
        other => {
            let frame = Frame::from_datagram(Bytes::from(other.to_vec()), u32::MAX).expect("a frame");
            Message::decode(frame).expect("what the router sends can be read")
        }
    }
}

/// Stands in the ledger for a body in a descriptor.
pub(crate) const DESCRIPTOR: &str = "(descriptor)";

/// Checks that what the router sends decodes to the same message.
fn check_wire(message: &Message) {
    let bytes = message.to_vec();
    assert_eq!(bytes.len(), message.frame_len(), "the length of {message:?}");
    let frame = Frame::from_datagram(Bytes::from(bytes.clone()), u32::MAX);
    let decoded = frame.map(Message::decode).unwrap_or_else(|error| panic!("{error:?} in {message:?}"));
    let decoded = decoded.unwrap_or_else(|violation| panic!("{violation} in {message:?}"));
    assert_eq!(decoded.to_vec(), bytes, "{message:?} is read as {decoded:?}");
}
