//! Counted fake descriptors: each must be closed exactly once, whichever way it leaves the router.

use std::{cell::RefCell, collections::BTreeMap};

use ipc_protocol::{Body, wire};
use ipcd::core::Input;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    DESCRIPTOR, Delivered, Peer, Request, Ticket, World, ledger::Sender, model::Promise, operate::reply_with, plain,
};

/// A fake descriptor, closed when it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

thread_local! {
    /// How often each token is open: twice while a state is handed over, until the old one is dropped.
    static OPEN: RefCell<BTreeMap<u64, u32>> = const { RefCell::new(BTreeMap::new()) };
    static OPENED: RefCell<u64> = const { RefCell::new(0) };
}

impl Token {
    pub(crate) fn open() -> Self {
        let number = OPENED.with_borrow_mut(|opened| {
            *opened += 1;
            *opened
        });
        Self::taken(number)
    }

    /// The number of tokens open in this test.
    pub(crate) fn count_open() -> usize {
        OPEN.with_borrow(|open| open.values().map(|count| *count as usize).sum())
    }

    fn taken(number: u64) -> Self {
        OPEN.with_borrow_mut(|open| *open.entry(number).or_insert(0) += 1);
        Self(number)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| {
            let count = open.get_mut(&self.0).expect("a descriptor was closed twice");
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        });
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::taken)
    }
}

impl World {
    /// A call whose body is in a descriptor.
    pub(crate) fn make_with_fd(&mut self, from: Peer, request: Request) -> Ticket {
        if self.speaks_json(from) {
            return self.make(from, request); // which has none
        }
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        fake.last_call += 1;
        let (id, number) = (fake.id, fake.last_call);
        let who = (Sender::Peer(from), number, fake.identity.uid);
        let (ticket, call) = self.enter(who, request.body(DESCRIPTOR.as_bytes()));
        let call = wire::Call {
            id: call.id,
            one_way: call.one_way,
            streams: call.streams,
            encoding: call.encoding,
            timeout_ms: call.timeout_ms,
            caller: call.caller,
            routing: call.routing,
            body: Body::Fd(Token::open()),
        };
        if self.fakes[from.0].is_open() && !self.fakes[from.0].parked && !self.fakes[from.0].held_back {
            self.route_call(from, call.id);
            self.tell(Input::Message { from: id, message: &mut wire::Message::Call(call) });
        }
        ticket
    }

    /// A service answers with a body in a descriptor.
    pub(crate) fn reply_with_fd(&mut self, delivered: &Delivered) {
        if self.speaks_json(delivered.to) {
            return self.reply(delivered, DESCRIPTOR.as_bytes());
        }
        self.send_rest(delivered.to);
        let (fake, id) = (&self.fakes[delivered.to.0], delivered.call.id);
        if fake.is_open() && !fake.parked {
            let from = fake.id;
            let mut reply = reply_with(id, Body::Fd(Token::open()));
            self.note_answer(delivered.to, id, Promise::Answer(plain(&reply)));
            self.tell(Input::Message { from, message: &mut reply });
        }
    }
}
