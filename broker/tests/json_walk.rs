//! Random walks of peers that speak JSON-RPC, around the pure core: with virtual time and without sockets. After each step the router's
//! invariants hold, and in the end each request has exactly one answer.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, io::IoSlice, time::Duration};

use bytes::Bytes;
use ipc_protocol::{Identity, NoFd, wire::Message};
use ipcd::{
    core::{Input, Limits, Moment, Output, PeerId, Policy, Router, Shed},
    front::{Incoming, Inlet, Outlet, Pool, Sheet},
};
use serde_json::{Value, json};

/// A peer: the broker's half of its connection, and what it knows.
struct Peer {
    id: PeerId,
    inlet: Inlet,
    outlet: Outlet<NoFd>,
    shed: Shed,
    /// What it has read of a line.
    text: Vec<u8>,
    is_open: bool,
    /// Whether it reads at once.
    reads: bool,
    /// Its requests, and how many answers each has.
    asked: BTreeMap<u64, u32>,
    /// Calls that it has not answered.
    owed: Vec<Value>,
}

struct Walk {
    router: Router<NoFd>,
    now: Moment,
    out: Vec<Output<NoFd>>,
    peers: Vec<Peer>,
    dice: u64,
    last: u64,
    /// Answers that were read, and calls that were delivered.
    answers: u32,
    calls: u32,
}

#[test]
fn each_request_has_one_answer_whatever_its_peers_do() {
    let (mut answers, mut calls) = (0, 0);
    for seed in 1..=40 {
        let mut walk = Walk::new(seed);
        (0..400).for_each(|_| walk.step());
        walk.end();
        (answers, calls) = (answers + walk.answers, calls + walk.calls);
    }
    assert!(answers > 2_000 && calls > 200, "{answers} answers, {calls} calls were delivered");
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut limits = Limits::default();
        (limits.calls_per_caller, limits.unread_soft_bytes) = (20, 4_000);
        let router = Router::new(limits, Policy::new(1_000), "walk");
        let (out, peers, dice) = (Vec::new(), Vec::new(), seed * 0x9e37_79b9);
        let mut walk = Self { router, now: Moment(1), out, peers, dice, last: 0, answers: 0, calls: 0 };
        (0..4).for_each(|_| walk.connect());
        walk
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from(self.dice >> 20).unwrap_or(0) % sides
    }

    fn connect(&mut self) {
        let id = self.router.connect(self.now, Identity::new(1_000, 1_000), &mut self.out).expect("there is room");
        let (inlet, outlet, shed) = (Inlet::default(), Outlet::new(), Shed::default());
        let (text, asked, owed) = (Vec::new(), BTreeMap::new(), Vec::new());
        self.peers.push(Peer { id, inlet, outlet, shed, text, is_open: true, reads: true, asked, owed });
    }

    /// Whatever one peer may do.
    fn step(&mut self) {
        let at = self.roll(self.peers.len());
        match self.roll(14) {
            0 => self.close(at),
            1 => self.connect(),
            2 => self.peers[at].reads = !self.peers[at].reads,
            3 => self.now = self.now.after(Duration::from_millis(700)),
            4..=6 => self.answer(at),
            7 => {
                let count = 1 + self.roll(5);
                let batch: Vec<Value> = (0..count).map(|_| self.request(at)).collect();
                let _ = self.say(at, &json!(batch).to_string());
            }
            8 => _ = self.say(at, "{\"garbled\n"),
            9 => {
                let id = self.last.saturating_sub(self.roll(20) as u64);
                let cancel = json!({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}});
                let _ = self.say(at, &cancel.to_string());
            }
            10 => self.hand_over(at),
            _ => {
                let request = self.request(at);
                let _ = self.say(at, &request.to_string());
            }
        }
        self.settle();
    }

    /// A request of a peer that may say something now.
    fn request(&mut self, at: usize) -> Value {
        self.last += 1;
        let id = self.last;
        let name = ["a", "b", "c.d"][self.roll(3)];
        let (method, params) = match self.roll(12) {
            0 => ("ipc.register", json!({"name": name, "window": 1 + self.roll(3), "shared": true, "streams": true})),
            1 => ("ipc.unregister", json!({"name": name})),
            2 => ("ipc.subscribe", json!({"pattern": "**"})),
            3 => ("ipc.publish", json!({"topic": "t", "body": "x".repeat(500)})),
            4 => ("ipc.wait", json!({"name": name})),
            5 => ("ipc.lock", json!({"name": name})),
            6 => ("Impossible", json!([])),
            _ => (name, json!(["y".repeat(self.roll(300))])),
        };
        let meta = match self.roll(6) {
            0 => json!({"stream": "reply"}),
            1 => json!({"timeout_ms": 500}),
            _ => json!({}),
        };
        let peer = &mut self.peers[at];
        if peer.is_open && self.router.may_send(peer.id) {
            peer.asked.insert(id, 0);
        }
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params, "meta": meta})
    }

    fn answer(&mut self, at: usize) {
        let Some(id) = self.peers[at].owed.pop() else { return };
        let answer = match self.roll(4) {
            0 => json!({"jsonrpc": "2.0", "id": id, "error": {"code": 7, "message": "no"}}),
            _ => json!({"jsonrpc": "2.0", "id": id, "result": [id]}),
        };
        if self.roll(3) == 0 {
            let item = json!({"jsonrpc": "2.0", "method": "$/item", "params": {"call": id, "item": 1}});
            let _ = self.say(at, &item.to_string());
        }
        if !self.say(at, &answer.to_string()) {
            self.peers[at].owed.push(id);
        }
    }

    /// Sends something, unless the peer has to read first.
    fn say(&mut self, at: usize, text: &str) -> bool {
        let peer = &mut self.peers[at];
        if !peer.is_open || !self.router.may_send(peer.id) {
            return false;
        }
        peer.inlet.feed(Bytes::copy_from_slice(text.as_bytes()));
        let mut message = Message::Pong(0);
        let from = peer.id;
        while let Some(incoming) = self.peers[at].inlet.next(&mut message).expect("JSON-RPC has no violations") {
            let input = match incoming {
                Incoming::Message => Input::Message { from, message: &mut message },
                Incoming::Misnamed { id, error } => Input::Misnamed { from, id, error },
                Incoming::Malformed { id, text } => Input::Malformed { from, id, text },
                other => panic!("{other:?}"),
            };
            self.router.handle(self.now, input, &mut self.out);
            self.router.assert_invariants();
            self.carry_out();
            if !self.peers[at].is_open {
                break;
            }
        }
        true
    }

    fn carry_out(&mut self) {
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Send { to, item } => {
                        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == to && peer.is_open) {
                            let shed = peer.outlet.push(item, &mut Pool::new());
                            peer.shed.add(shed);
                        }
                    }
                    Output::Cut { peer, .. } | Output::Close { peer } => {
                        let at = self.peers.iter().position(|row| row.id == peer).expect("it connected");
                        self.close(at);
                    }
                    _ => {}
                }
            }
        }
    }

    fn close(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if std::mem::replace(&mut peer.is_open, false) {
            (peer.outlet, peer.inlet) = (Outlet::new(), Inlet::default());
            peer.asked.clear();
            peer.owed.clear();
            let input = Input::Closed { peer: peer.id };
            self.router.handle(self.now, input, &mut self.out);
            self.router.assert_invariants();
        }
    }

    /// Serialises a connection, and goes on with what is read from that.
    fn hand_over(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.inlet = serde_json::from_str(&serde_json::to_string(&peer.inlet).unwrap()).unwrap();
        peer.outlet = serde_json::from_str(&serde_json::to_string(&peer.outlet).unwrap()).unwrap();
    }

    /// Deadlines, and a write to each peer, until nothing happens any more.
    fn settle(&mut self) {
        self.carry_out();
        while self.router.next_deadline().is_some_and(|due| due <= self.now) {
            self.router.handle(self.now, Input::Deadline, &mut self.out);
            self.carry_out();
        }
        for _ in 0..3 {
            (0..self.peers.len()).for_each(|at| self.write(at));
            self.carry_out();
        }
        self.router.assert_invariants();
    }

    fn write(&mut self, at: usize) {
        let most = if self.peers[at].reads { usize::MAX } else { self.roll(50) };
        let peer = &mut self.peers[at];
        if !peer.is_open {
            return;
        }
        let (mut sheet, mut cost, mut left, mut pool) = (Sheet::new(), 0, most, Pool::new());
        peer.outlet.arrange(&mut peer.inlet, &mut pool);
        while left > 0 && !peer.outlet.is_empty() {
            peer.outlet.encode(&peer.inlet, &mut sheet);
            let mut slices = [IoSlice::new(&[]); Sheet::PIECES];
            let count = sheet.pieces(&mut slices);
            let len = left.min(sheet.len());
            peer.text.extend(slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(len));
            cost += peer.outlet.wrote(len, &sheet, &mut peer.inlet, &mut pool).cost;
            left -= len;
        }
        peer.outlet.detach();
        let (to, shed) = (peer.id, std::mem::take(&mut peer.shed));
        if shed != Shed::default() {
            self.router.handle(self.now, Input::Shed { to, shed }, &mut self.out);
        }
        self.router.handle(self.now, Input::Written { to, cost }, &mut self.out);
        let mut message = Message::Pong(0);
        while self.peers[at].inlet.say(&mut message) {
            self.router.handle(self.now, Input::Message { from: to, message: &mut message }, &mut self.out);
        }
        if let Some(bytes) = self.peers[at].inlet.take_kept() {
            self.router.handle(self.now, Input::Kept { by: to, bytes }, &mut self.out);
        }
        self.read(at);
    }

    /// Reads the lines that are complete.
    fn read(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        while let Some(end) = peer.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = peer.text.drain(..=end).collect();
            let value: Value = serde_json::from_slice(&line).expect("a line is a message");
            let messages = if let Value::Array(messages) = value { messages } else { vec![value] };
            for message in messages {
                if message["method"] == "$/call" {
                    peer.owed.push(message["id"].clone());
                    self.calls += 1;
                } else if let Some(id) = message["id"].as_u64() {
                    let answers = peer.asked.get_mut(&id).unwrap_or_else(|| panic!("{message} was not asked for"));
                    *answers += 1;
                    self.answers += 1;
                    assert_eq!(*answers, 1, "{message}");
                }
            }
        }
    }

    /// Everyone reads and answers, and time passes: no request is left without an answer.
    fn end(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.reads = true);
        for _ in 0..50 {
            self.settle();
            for at in 0..self.peers.len() {
                while !self.peers[at].owed.is_empty() && self.router.may_send(self.peers[at].id) {
                    self.answer(at);
                }
            }
            self.now = self.now.after(Duration::from_secs(100));
        }
        for peer in &self.peers {
            let unanswered: Vec<_> = peer.asked.iter().filter(|(_, answers)| **answers == 0).collect();
            assert!(unanswered.is_empty(), "{unanswered:?}");
        }
        (0..self.peers.len()).for_each(|at| self.close(at));
        self.carry_out();
        assert_eq!(self.router.bytes_held(), 0, "after all have left");
    }
}
