//! Streams over real sockets: what one side sends the other receives, and a death is told.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use bytes::Bytes;
use ipc_protocol::{Credit, Element, Encoding, End, ErrorCode, Message, Streams};
use ipc_tests::{
    broker::Broker,
    peer::{Peer, call},
};
use serde_json::json;

/// Items of each direction, and their length: a few MiB together.
const ITEMS: u64 = 100;
const LEN: usize = 64 * 1024;
/// The credit that each side grants at first, and anew when half of it is used.
const WINDOW: u32 = 8;

/// One side of a two-way stream, which grants credit as it reads.
struct Side {
    peer: Peer,
    id: u64,
    delivered: bool,
    seed: u8,
    sent: u64,
    received: u64,
    credit: (u64, u64),
    owed: u32,
}

impl Side {
    fn new(peer: Peer, id: u64, delivered: bool, seed: u8) -> Self {
        Self { peer, id, delivered, seed, sent: 0, received: 0, credit: (0, 0), owed: 0 }
    }

    fn grant(&mut self, items: u32) {
        let (id, delivered, bytes) = (self.id, self.delivered, u64::from(items) * LEN as u64);
        self.peer.send(&Message::Credit(Credit { id, delivered, items, bytes }));
    }

    /// Sends what it has credit for, and takes a message.
    fn step(&mut self) {
        while self.sent < ITEMS && self.credit.0 > 0 && self.credit.1 > 0 {
            let (id, delivered, body) = (self.id, self.delivered, body(self.seed, self.sent).into());
            self.peer.send(&Message::Item(Element { id, delivered, encoding: Encoding::BYTES, body }));
            self.credit = (self.credit.0 - 1, self.credit.1 - LEN as u64);
            self.sent += 1;
        }
        match self.peer.receive() {
            Some(Message::Item(item)) => {
                assert_eq!((item.id, item.delivered), (self.id, self.delivered));
                assert!(*item.body == body(1 - self.seed, self.received)[..], "item {} is another one", self.received);
                self.received += 1;
                self.owed += 1;
                if self.owed == WINDOW / 2 {
                    self.owed = 0;
                    self.grant(WINDOW / 2);
                }
            }
            Some(Message::Credit(credit)) => {
                self.credit = (self.credit.0 + u64::from(credit.items), self.credit.1 + credit.bytes);
            }
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self) {
        self.grant(WINDOW);
        while self.sent < ITEMS || self.received < ITEMS {
            self.step();
        }
    }
}

fn body(seed: u8, number: u64) -> Bytes {
    let byte = seed.wrapping_add(u8::try_from(number % 251).unwrap_or(0));
    vec![byte; LEN].into()
}

fn streamer(broker: &Broker, name: &str) -> Peer {
    let mut service = Peer::connect(broker);
    let _: serde_json::Value = service.ask("register", &json!({ "name": name, "window": 8, "streams": true }));
    service
}

fn start(peer: &mut Peer, target: &str, number: u64, streams: Streams) {
    peer.send(&Message::Call(ipc_protocol::Call { streams, ..call(number, target, "") }));
}

const BOTH: Streams = Streams { request: true, reply: true };

#[test]
fn a_two_way_stream_carries_megabytes_both_ways_at_once() {
    let broker = Broker::start();
    let (mut service, mut caller) = (streamer(&broker, "mirror"), Peer::connect(&broker));
    start(&mut caller, "mirror", 1, BOTH);
    let delivered = service.delivered();
    assert_eq!(delivered.streams, BOTH);
    let (mut above, mut below) = (Side::new(caller, 1, false, 0), Side::new(service, delivered.id, true, 1));
    let finished = Arc::new(Barrier::new(2));

    let both = finished.clone();
    let worker = thread::spawn(move || {
        below.run();
        both.wait();
        below.peer.answer(&delivered, "done");
        below
    });
    above.run();
    above.peer.send(&Message::Ping(1)); // the last credit is taken before the answer ends the call
    let pong = std::iter::from_fn(|| above.peer.receive()).find(|message| !matches!(message, Message::Credit(_)));
    assert_eq!(pong, Some(Message::Pong(1)));
    finished.wait();

    let below = worker.join().unwrap();
    let left = std::iter::from_fn(|| above.peer.receive()).find(|message| !matches!(message, Message::Credit(_)));
    assert!(matches!(left, Some(Message::Reply(reply)) if reply.id == 1), "the reply is the end");
    drop((above, below));
    assert_eq!(broker.stat("items"), 2 * ITEMS);
    assert_eq!(broker.stat("stream_frames_late"), 0);
}

#[test]
fn a_service_that_dies_ends_its_stream_with_the_number_of_items_that_it_was_sent() {
    let broker = Broker::start();
    let (mut service, mut caller) = (streamer(&broker, "store"), Peer::connect(&broker));
    start(&mut caller, "store", 1, Streams { request: true, reply: false });
    let delivered = service.delivered();
    service.send(&Message::Credit(Credit { id: delivered.id, delivered: true, items: 9, bytes: 1_000 }));
    assert!(matches!(caller.receive(), Some(Message::Credit(Credit { id: 1, items: 9, .. }))));
    for at in 0..3 {
        let body = body(0, at).slice(..9).into();
        caller.send(&Message::Item(Element { id: 1, delivered: false, encoding: Encoding::BYTES, body }));
    }
    caller.send(&Message::End(End::complete(1)));
    caller.settle();

    drop(service);

    let failure = caller.failure();
    assert_eq!((failure.code, failure.delivered), (ErrorCode::SERVICE_GONE, Some(3)));
}

#[test]
fn a_caller_that_dies_ends_its_stream_with_the_number_of_items_that_it_was_sent() {
    let broker = Broker::start();
    let (mut service, mut caller) = (streamer(&broker, "store"), Peer::connect(&broker));
    start(&mut caller, "store", 1, Streams { request: false, reply: true });
    caller.send(&Message::Credit(Credit { id: 1, delivered: false, items: 9, bytes: 1_000 }));
    let delivered = service.delivered();
    assert!(matches!(service.receive(), Some(Message::Credit(Credit { delivered: true, items: 9, .. }))));
    let (id, body) = (delivered.id, body(1, 0).slice(..9).into());
    service.send(&Message::Item(Element { id, delivered: true, encoding: Encoding::BYTES, body }));
    service.settle();

    drop(caller);

    let cancel = service.cancelled();
    assert_eq!((cancel.id, cancel.reason, cancel.delivered), (id, ErrorCode::CANCELLED, Some(1)));
}
