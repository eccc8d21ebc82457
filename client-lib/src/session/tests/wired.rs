//! Two sessions, a caller's and a service's, wired back to back without a socket: bytes out of one go into the other by a broker that
//! fits on a page. What a link does for a socket, `carry` does here.

use std::ops::ControlFlow;

use ipc_protocol::Identity;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    error::CallError,
    method::Method,
    session::{
        routes::Routes,
        typed::{Asked, Settled},
    },
};

/// `calc.double`
#[derive(Serialize, Deserialize)]
struct Double {
    of: u32,
}

impl Method for Double {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "double";
    type Reply = u32;
    type Error = String;
}

/// One end: a session and what it reads from.
struct End {
    session: Session,
    inbox: Inbox,
    /// Where the broker reads what the session sends.
    broker: Inbox,
    ended: Vec<Serial>,
}

/// The broker: it greets, numbers calls anew for the service, and cuts every write in pieces of a few bytes.
struct Wire {
    caller: End,
    service: End,
    /// The caller's number of each call that was delivered, in order: the service's numbers count from 1.
    delivered: Vec<u64>,
}

impl End {
    fn new(role: Role) -> Self {
        Self { session: fresh(role), inbox: Inbox::new(MAX_BODY), broker: Inbox::new(MAX_BODY), ended: Vec::new() }
    }

    /// What the session has to say, as messages.
    fn said(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(bytes) = self.session.poll_transmit() {
            let piece = Bytes::copy_from_slice(&bytes[..bytes.len().min(7)]);
            self.session.transmitted(piece.len());
            self.broker.decoder().feed(piece);
            while let Some(incoming) = self.broker.next().unwrap() {
                let Incoming::Frame(frame) = incoming else { panic!("only short frames are sent") };
                said.push(Message::decode(frame).unwrap());
            }
        }
        said
    }

    fn receive(&mut self, message: &Message) {
        for piece in message.to_vec().chunks(5) {
            self.inbox.decoder().feed(Bytes::copy_from_slice(piece));
            self.session.receive(&mut self.inbox, |id| self.ended.push(id)).unwrap();
        }
    }
}

impl Wire {
    fn new() -> Self {
        Self { caller: End::new(Role::Caller), service: End::new(Role::Service), delivered: Vec::new() }
    }

    /// Carries everything to where it goes, until nothing moves.
    fn carry(&mut self) {
        loop {
            let (asked, answered) = (self.caller.said(), self.service.said());
            if asked.is_empty() && answered.is_empty() {
                return;
            }
            answered.into_iter().for_each(|message| self.carry_from_service(message));
            asked.into_iter().for_each(|message| self.carry_from_caller(message));
        }
    }

    fn carry_from_caller(&mut self, message: Message) {
        match message {
            Message::Hello(_) => self.caller.receive(&welcome()),
            Message::Ping(id) => self.caller.receive(&Message::Pong(id)),
            Message::Call(call) => {
                self.delivered.push(call.id);
                let caller = Identity::new(1, 1).stamp(None);
                let call = Call { id: self.delivered.len() as u64, caller, ..call };
                self.service.receive(&Message::Call(call));
            }
            Message::Cancel(cancel) => {
                let at = self.delivered.iter().position(|id| *id == cancel.id).unwrap();
                self.service.receive(&Message::Cancel(Cancel { id: at as u64 + 1, ..cancel }));
            }
            other => panic!("a caller says no such thing: {other:?}"),
        }
    }

    fn carry_from_service(&mut self, message: Message) {
        let number = |id: u64| self.delivered[usize::try_from(id).unwrap() - 1];
        match message {
            Message::Hello(_) => self.service.receive(&welcome()),
            Message::Reply(reply) => {
                let id = number(reply.id);
                self.caller.receive(&Message::Reply(Reply { id, ..reply }));
            }
            Message::Error(failure) => {
                let id = number(failure.id);
                self.caller.receive(&Message::Error(Failure { id, ..failure }));
            }
            other => panic!("a service says no such thing: {other:?}"),
        }
    }

    fn delivery(&mut self) -> Inbound {
        let mut inbound = Vec::new();
        self.carry();
        self.service.session.take_inbound(&mut inbound);
        assert_eq!(inbound.len(), 1);
        inbound.remove(0)
    }

    fn delivered_call(&mut self) -> Call {
        match self.delivery() {
            Inbound::Call(call) => call,
            Inbound::Cancel(cancel) => panic!("no call: {cancel:?}"),
        }
    }

    fn answer(&mut self, answer: Message) {
        let mut answers = Frames::default();
        answers.push_message(answer);
        self.service.session.answer(&mut answers);
        self.carry();
    }

    fn ask(&mut self, asked: &Asked, request: &Double) -> Serial {
        let body = ipc_protocol::codec::encode(asked.encoding, request).unwrap();
        self.caller.session.call(Instant::now(), &asked.outgoing(Payload::Borrowed(&body))).unwrap().unwrap()
    }

    fn settle(&mut self, id: Serial, asked: &Asked) -> ControlFlow<Result<u32, CallError<String>>> {
        assert_eq!(self.caller.ended.pop(), Some(id));
        match asked.settle::<Double>(self.caller.session.take(id).unwrap()) {
            Settled::Done(result) => ControlFlow::Break(result),
            Settled::Again => ControlFlow::Continue(()),
        }
    }
}

fn double(call: &Call) -> Message {
    let request: Double = ipc_protocol::codec::decode(call.encoding, &call.body).unwrap();
    let body = ipc_protocol::codec::encode(call.encoding, &(request.of * 2)).unwrap().into();
    Message::Reply(Reply { id: call.id, encoding: call.encoding, body })
}

#[test]
fn a_typed_call_is_answered_over_bytes_alone() {
    let (mut wire, mut routes) = (Wire::new(), Routes::default());
    let asked = routes.ask::<Double>(None, Instant::now(), None).unwrap();
    let id = wire.ask(&asked, &Double { of: 21 });
    let call = wire.delivered_call();
    assert_eq!(call.encoding, Encoding::BINCODE);
    wire.answer(double(&call));
    assert!(matches!(wire.settle(id, &asked), ControlFlow::Break(Ok(42))));
}

#[test]
fn a_service_that_takes_json_alone_is_asked_again_and_from_then_on_at_once() {
    let (mut wire, mut routes) = (Wire::new(), Routes::default());
    let mut asked = routes.ask::<Double>(None, Instant::now(), None).unwrap();
    let first = wire.ask(&asked, &Double { of: 21 });
    let refused = wire.delivered_call();
    wire.answer(Message::Error(Failure::new(refused.id, ErrorCode::UNSUPPORTED_ENCODING, "json is taken")));
    assert!(wire.settle(first, &asked).is_continue());

    routes.ask_again(Instant::now(), &mut asked);
    let second = wire.ask(&asked, &Double { of: 21 });
    let call = wire.delivered_call();
    assert_eq!((call.encoding, &call.body[..]), (Encoding::JSON, &br#"{"of":21}"#[..]));
    wire.answer(double(&call));
    assert!(matches!(wire.settle(second, &asked), ControlFlow::Break(Ok(42))));
    assert_eq!(routes.ask::<Double>(None, Instant::now(), None).unwrap().encoding, Encoding::JSON);
}

#[test]
fn a_call_given_up_is_cancelled_at_the_service() {
    let mut wire = Wire::new();
    let id = call(&mut wire.caller.session);
    wire.delivered_call();
    assert!(wire.caller.session.abandon(id, ErrorCode::CANCELLED).is_none());
    assert!(matches!(wire.delivery(), Inbound::Cancel(cancel) if cancel.id == 1));
}

#[test]
fn a_one_way_call_ends_without_an_answer_of_the_service() {
    let mut wire = Wire::new();
    let id = call_of(&mut wire.caller.session, &with_body(2, Answer::Unwanted)).unwrap();
    assert!(wire.delivered_call().one_way);
    assert_eq!(wire.caller.ended, [id]);
}
