//! A walk: random steps through a small world with small limits, so that every limit is hit again and again.

use bytes::Bytes;
use ipc_protocol::{
    Call, Encoding, ErrorCode, Event, Failure, Goodbye, Hello, Identity, Message, Reply, Routing, Streams, Versions,
    Violation,
    control::{self, Keeping},
};
use ipcd::core::Limits;

use super::{Counter, Delivered, Dice, OWNER, Peer, Request, Ticket, World, registration, subscription};

/// Takes random steps, and knows what it needs for the next one.
pub(crate) struct Walk<'a> {
    world: World,
    dice: Dice<'a>,
    /// Every peer that ever connected, oldest first.
    peers: Vec<Peer>,
    /// Calls that services have received, less those that were answered for the last time.
    delivered: Vec<Delivered>,
    tickets: Vec<Ticket>,
    end: u64,
    /// Items of streams sent so far.
    sent: u64,
}

/// Walks until the given choices are used up.
pub(crate) fn walk_given(choices: &[u8]) {
    let mut walk = Walk::new(Dice::Given(choices));
    while !walk.dice.is_over() {
        walk.step();
    }
    walk.finish();
}

/// Walks with the choices of a counter, from a world in which a service works on a call and another one waits for it.
pub(crate) fn walk_counted(counter: &mut Counter) {
    let mut walk = Walk::on_the_way(Dice::Counted(counter));
    while !walk.dice.is_over() {
        walk.step();
    }
    walk.world.end();
}

impl<'a> Walk<'a> {
    fn on_the_way(dice: Dice<'a>) -> Self {
        let mut world = World::with_limits(small);
        world.mix();
        let (service, caller) = (world.worker("a", 1), world.peer(OWNER));
        let tickets = world.call_each(caller, "a", ["running", "waiting"]);
        let mut walk =
            Self { world, dice, peers: vec![service, caller], delivered: Vec::new(), tickets, end: 0, sent: 0 };
        walk.collect();
        walk
    }

    pub(crate) fn new(mut dice: Dice<'a>) -> Self {
        let (mut world, end) = (World::with_limits(small), dice.below(4));
        world.mix();
        Self { world, dice, peers: Vec::new(), delivered: Vec::new(), tickets: Vec::new(), end, sent: 0 }
    }

    pub(crate) fn step(&mut self) {
        match self.dice.arm(&[3, 5, 1, 16, 4, 16, 3, 5, 2, 1, 2, 1, 2, 1, 1, 1, 3, 8, 12, 5]) {
            0 => self.connect(),
            1 => self.register(),
            2 => self.unregister(),
            3 => self.call(),
            4 => self.one_way(),
            5 => self.answer(),
            6 => self.cancel(),
            7 => self.advance(),
            8 => self.read(),
            9 => self.datagram(),
            10 => self.assemble(),
            11 => self.chat(),
            12 => self.wait(),
            13 if self.dice.once_in(3) => self.leave(),
            14 if self.dice.once_in(4) => self.misbehave(),
            13..=14 => self.call(),
            15 => self.rarely(),
            16 => self.subscribe(),
            17 => self.publish(),
            18 => self.stream(),
            _ => self.lock(),
        }
        self.peers.retain(|peer| self.world.is_open(*peer));
        self.collect();
    }

    /// Ends the walk, in one of several ways, and checks that nothing is left.
    pub(crate) fn finish(mut self) {
        match self.end {
            0 => self.world.stop(),
            1 => {
                self.world.drain();
                self.world.advance(7_200_000);
            }
            2 => self.world.advance(7_200_000),
            _ => {}
        }
        self.world.end();
    }

    fn connect(&mut self) {
        let uid = self.dice.pick(&[OWNER, OWNER, OWNER, OWNER, OWNER, OWNER, 0, 1001]).unwrap_or(OWNER);
        let Ok(peer) = self.world.connect(uid) else { return };
        self.peers.push(peer);
        if !self.dice.once_in(8) {
            self.world.greet(peer, Hello::new("walker"));
        }
    }

    fn register(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let name = Some(NAMES[self.index(NAMES.len())]).filter(|_| !self.dice.once_in(5));
        let window = u32::try_from(self.dice.below(4)).unwrap_or(1);
        let (shared, streams) = (!self.dice.once_in(3), !self.dice.once_in(4));
        let mut request = control::Register { shared, streams, ..registration(name, window) };
        let methods = if self.dice.once_in(4) { self.index(40) } else { 0 };
        request.methods = (0..methods).map(|at| format!("method-{at}").parse().expect("a good name")).collect();
        let request = Request::register(&request);
        self.make(peer, request);
    }

    fn unregister(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let name = Some(NAMES[self.index(NAMES.len())]).filter(|_| !self.dice.once_in(4));
        self.make(peer, Request::unregister(name));
    }

    fn call(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        if self.world.speaks_json(peer) && self.dice.once_in(6) {
            return self.batch(peer);
        }
        let request = self.request();
        self.make(peer, request);
    }

    /// A few short calls in one message.
    fn batch(&mut self, peer: Peer) {
        self.world.send_rest(peer);
        if !self.world.is_ready(peer) {
            return;
        }
        self.world.open_batch(peer);
        for _ in 0..=self.dice.below(4) {
            let request = self.request();
            let request = if request.service == "ipc" { request } else { request.body(b"of a batch") };
            let request = if self.dice.once_in(5) { request.one_way() } else { request };
            let ticket = self.world.make(peer, request);
            self.tickets.push(ticket);
        }
        self.world.close_batch(peer);
    }

    fn one_way(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let request = self.request().one_way();
        self.make(peer, request);
    }

    /// A call with streams, or a frame of one.
    fn stream(&mut self) {
        match self.dice.below(9) {
            0..=1 => {
                let Some(peer) = self.pick_ready() else { return };
                let request = self.request();
                let request = if self.dice.once_in(3) { request } else { request.upload() };
                let request = if self.dice.once_in(3) { request } else { request.download() };
                let request = if self.dice.once_in(20) { request.one_way() } else { request };
                self.make(peer, request);
            }
            2..=4 => self.stream_of_caller(),
            _ => self.stream_of_service(),
        }
    }

    fn stream_of_caller(&mut self) {
        let Some(ticket) = self.dice.pick(&self.tickets).filter(|ticket| self.world.is_streaming(*ticket)) else {
            return;
        };
        let (_, body) = self.item();
        match self.dice.below(24) {
            0 => self.world.end_items(ticket, None, ""),
            1 => self.world.end_items(ticket, Some(ErrorCode::APP_ERROR), "no more"),
            2 => self.world.send_item(ticket, &body),
            3..=12 if self.world.may_send_item(ticket) => self.world.send_item(ticket, &body),
            13 => self.world.grant(ticket, 0, 0),
            14 => self.world.grant(ticket, u32::MAX, u64::MAX >> 8),
            _ => {
                let (items, bytes) = self.some_credit();
                self.world.grant(ticket, items, bytes);
            }
        }
    }

    fn stream_of_service(&mut self) {
        let Some(at) = self.pick_delivered() else { return };
        let delivered = self.delivered[at].clone();
        let (cut, body) = self.item();
        match self.dice.below(24) {
            0 => self.world.send_item_back(&delivered, &body),
            1..=12 if self.world.may_send_item_back(&delivered) => {
                self.world.send_item_back_cut(&delivered, &body, cut);
            }
            13 => self.world.grant_back(&delivered, 0, 0),
            14 => self.world.grant_back(&delivered, u32::MAX, u64::MAX >> 8),
            15 if self.dice.once_in(4) => {
                let id = Delivered { call: Call { id: delivered.call.id ^ 1, ..delivered.call }, ..delivered };
                self.world.grant_back(&id, 1, 1);
            }
            _ => {
                let (items, bytes) = self.some_credit();
                self.world.grant_back(&delivered, items, bytes);
            }
        }
    }

    fn some_credit(&mut self) -> (u32, u64) {
        let items = u32::try_from(self.dice.below(6)).unwrap_or(1);
        (items, self.dice.below(3_000))
    }

    /// The body of an item, which differs from all before it, and the place where its frame is cut, if it is.
    fn item(&mut self) -> (usize, Vec<u8>) {
        let len = match self.dice.below(30) {
            0 => LONGEST + 1 + self.index(LONGEST),
            1..=4 => self.index(LONGEST),
            _ => self.index(200),
        };
        self.sent += 1;
        let mut body = self.sent.to_le_bytes().to_vec();
        body.resize(len, b'z');
        (1 + self.index(2 * len + 64), body)
    }

    fn wait(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let name = NAMES[self.index(NAMES.len())].parse().expect("a good name");
        let wait = control::Wait { name, gone: self.dice.once_in(2), target: self.dice.once_in(2) };
        let timeout = self.timeout();
        self.make(peer, Request::ipc("wait", &wait).within(timeout));
    }

    fn make(&mut self, peer: Peer, request: Request) {
        self.world.send_rest(peer);
        if !self.world.is_ready(peer) {
            return; // the broker does not read from it
        }
        let ticket = match self.dice.below(40) {
            0 => self.world.make_too_large(peer, request, 1 << 20),
            1..=4 => {
                let at = 1 + self.index(LONGEST);
                self.world.make_cut(peer, request, at)
            }
            5..=6 if request.service != "ipc" => self.world.make_with_fd(peer, request),
            _ => self.world.make(peer, request),
        };
        self.tickets.push(ticket);
        if self.tickets.len() > 64 {
            self.tickets.remove(0);
        }
    }

    fn request(&mut self) -> Request {
        let direct = format!("@{}", 1 + self.dice.below(1 + self.peers.len() as u64 * 2));
        let service = match self.dice.below(8) {
            0 => direct,
            1 => "ipc".to_owned(),
            2 => TARGETS[self.index(TARGETS.len())].to_owned(),
            _ => NAMES[self.index(NAMES.len())].to_owned(),
        };
        let method = match service.as_str() {
            "ipc" => OPERATIONS[self.index(OPERATIONS.len())],
            _ if self.dice.once_in(3) => "run",
            _ => "",
        };
        let long = self.dice.once_in(8);
        let len = self.index(if long { LONGEST } else { 32 });
        let body = if service == "ipc" { vec![] } else { vec![b'x'; len] };
        let timeout = self.timeout();
        let request = match method {
            "register" => Request::register(&registration(None, 1)),
            "unregister" => Request::unregister(None),
            _ => Request::to(&service, method).body(&body),
        };
        request.within(timeout)
    }

    fn timeout(&mut self) -> u32 {
        self.dice.pick(&[0, 1, 2, 5, 50, 1_000, 5_000, u32::MAX]).unwrap_or(0)
    }

    /// A service answers: correctly, twice, at too great a length, or a call that is not its own.
    fn answer(&mut self) {
        let Some(at) = self.pick_delivered() else { return };
        let from = self.delivered[at].to;
        self.world.send_rest(from);
        if !self.world.is_ready(from) {
            return; // the broker does not read from it
        }
        let delivered = match self.dice.once_in(12) {
            true => self.delivered[at].clone(), // to be answered again later
            false => self.delivered.remove(at),
        };
        match self.dice.below(16) {
            0 => self.world.fail(&delivered, ErrorCode::APP_ERROR),
            1 => {
                let code = ErrorCode(u16::try_from(self.dice.below(24)).unwrap_or(1));
                self.world.fail(&delivered, code);
            }
            2 => self.world.reply_too_large(&delivered, 1 << 20),
            3 => self.spoof(&delivered),
            4 => self.reply(&delivered, LONGEST - 1),
            _ => {
                let len = self.index(64);
                self.reply(&delivered, len);
            }
        }
    }

    fn reply(&mut self, delivered: &Delivered, len: usize) {
        match self.dice.below(12) {
            0 => self.world.reply_with_fd(delivered),
            1..=3 => {
                let at = 1 + self.index(len + 64);
                self.world.reply_cut(delivered, &vec![b'y'; len], at);
            }
            _ => self.world.reply(delivered, &vec![b'y'; len]),
        }
    }

    /// A peer answers a call that it did not receive.
    fn spoof(&mut self, delivered: &Delivered) {
        let Some(peer) = self.pick_ready() else { return };
        let id = delivered.call.id ^ self.dice.below(2);
        self.world.answer_as(peer, Message::Reply(Reply { id, encoding: Encoding::BYTES, body: Bytes::new().into() }));
    }

    fn cancel(&mut self) {
        if let Some(ticket) = self.dice.pick(&self.tickets) {
            self.world.cancel(ticket);
        }
    }

    fn advance(&mut self) {
        let ms = match self.dice.once_in(12) {
            true => self.dice.pick(&[60, 1_500, 10_000, 4_000_000]).unwrap_or(60),
            false => self.dice.below(4),
        };
        self.world.advance(ms);
    }

    fn read(&mut self) {
        let Some(peer) = self.pick() else { return };
        match self.dice.below(5) {
            0 => self.world.pause_reading(peer),
            4 => {
                let bytes = 2_000 * self.index(4);
                self.world.look(peer, bytes);
            }
            1 => {
                let bytes = self.index(1 + self.world.unread(peer));
                self.world.read_a_little(peer, bytes);
            }
            _ => self.world.resume_reading(peer),
        }
    }

    fn datagram(&mut self) {
        let uid = if self.dice.once_in(6) { 1001 } else { OWNER };
        let request = self.request();
        match self.dice.below(6) {
            0 => drop(self.world.datagram(uid, None, request.one_way())),
            1 => drop(self.world.datagram(uid, Some("there"), request.one_way())),
            2 => self.world.send_datagram(uid, Some("there"), Message::Ping(1)),
            _ => drop(self.world.datagram(uid, Some("there"), request)),
        }
    }

    /// Sends the rest of a frame.
    fn assemble(&mut self) {
        let Some(peer) = self.pick() else { return };
        match self.dice.once_in(3) {
            true => {
                let bytes = self.index(LONGEST);
                self.world.send_part(peer, bytes);
            }
            false => self.world.send_rest(peer),
        }
    }

    fn chat(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        match self.dice.below(3) {
            0 => self.world.send(peer, Message::Ping(self.dice.below(9))),
            1 => self.world.send(peer, Message::Pong(1)),
            _ => self.world.send(peer, Message::Goodbye(Goodbye { code: ErrorCode(0), text: String::new() })),
        }
    }

    fn leave(&mut self) {
        let Some(peer) = self.pick() else { return };
        match self.dice.once_in(4) {
            true if !self.world.is_parked(peer) => self.world.end_sending(peer),
            _ => self.world.disconnect(peer),
        }
    }

    /// A peer breaks the protocol.
    fn misbehave(&mut self) {
        let Some(peer) = self.pick() else { return };
        if self.world.speaks_json(peer) {
            return self.world.garble(peer);
        }
        let stamped = Call {
            id: u64::MAX,
            one_way: false,
            streams: Streams::NONE,
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            caller: Identity::new(0, 0).stamp(None),
            routing: Routing::to("a", "").build(),
            body: Bytes::new().into(),
        };
        match self.dice.below(6) {
            0 => self.world.send(peer, Message::Hello(Hello::new("again"))),
            1 => self.world.send(peer, Message::Call(stamped)),
            2 => self.world.send(peer, Message::Call(Call { id: 0, caller: Bytes::new(), ..stamped })),
            3 => {
                let versions = Versions { lowest: 7, highest: 9 };
                self.world.send(peer, Message::Hello(Hello { versions, ..Hello::new("later") }));
            }
            4 => {
                let unknown = Failure::new(self.dice.below(1 << 40), ErrorCode::INTERNAL, "whose?");
                self.world.answer_as(peer, Message::Error(unknown));
            }
            _ => self.world.violate(peer, &Violation::UnexpectedFds),
        }
    }

    /// What a broker sees rarely: handover, new limits, the end.
    fn rarely(&mut self) {
        match self.dice.below(16) {
            0..=4 => self.world.hand_over(),
            5..=6 => {
                let (soft, total) = (1_000 + self.dice.below(6_000), 12_000 + self.dice.below(30_000));
                let body = 1_000 + self.dice.below(LONGEST as u64);
                self.world.set_limits(|limits| {
                    limits.unread_soft_bytes = soft;
                    limits.bytes_total = total;
                    limits.body_bytes = body;
                });
            }
            7 => self.world.set_limits(small),
            8 if self.dice.once_in(20) => self.world.drain(),
            _ => self.connect(),
        }
    }

    fn subscribe(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let own = self.world.events.of_peer(peer);
        if self.dice.once_in(4) {
            let number = self.dice.pick(&own).unwrap_or(self.dice.below(1 << 34));
            return self.make(peer, Request::unsubscribe(number));
        }
        let policies = [Keeping::DropOldest, Keeping::DropNewest, Keeping::Latest, Keeping::DropOldest, Keeping::Cut];
        let request = control::Subscribe {
            policy: policies[self.index(policies.len())],
            queue: u32::try_from(self.dice.below(6)).unwrap_or(0),
            last: self.dice.once_in(2),
            ..subscription(PATTERNS[self.index(PATTERNS.len())])
        };
        self.make(peer, Request::subscribe(&request));
    }

    fn lock(&mut self) {
        let Some(peer) = self.pick_ready() else { return };
        let at = self.index(LOCKS.len());
        let (name, places) = LOCKS[at];
        if self.dice.once_in(3) {
            return self.make(peer, Request::unlock(name));
        }
        let places = if self.dice.once_in(10) { 3 } else { places };
        let (wait, timeout) = (!self.dice.once_in(4), self.timeout());
        let request = control::Lock { name: name.parse().expect("a good name"), places, wait };
        let request = Request::lock(&request).within(timeout);
        let request = if self.dice.once_in(12) { request.one_way() } else { request };
        self.make(peer, request);
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.index(TOPICS.len())];
        let (retained, one_way) = (self.dice.once_in(4), self.dice.once_in(2));
        let len = if self.dice.once_in(6) { self.index(LONGEST + 50) } else { self.index(40) };
        let body = "e".repeat(if self.dice.once_in(8) { 0 } else { len });
        let uid = [OWNER, 0, 1001][self.index(3)];
        match self.pick_ready() {
            Some(peer) if !self.dice.once_in(12) => {
                let change = |event: &mut Event| (event.retained, event.one_way) = (retained, one_way);
                for _ in 0..=self.dice.below(4) {
                    self.world.publish_as(peer, topic, &body, change);
                }
            }
            Some(peer) if self.dice.once_in(2) => drop(self.world.publish_misnamed(peer)),
            _ => self.world.publish_datagram(uid, topic, &body),
        }
    }

    fn collect(&mut self) {
        for peer in &self.peers {
            while let Some(delivered) = self.world.take_call(*peer) {
                self.delivered.push(delivered);
            }
            self.world.clear_inbox(*peer);
        }
        self.delivered.retain(|delivered| self.world.is_open(delivered.to));
    }

    fn pick(&mut self) -> Option<Peer> {
        self.dice.pick(&self.peers)
    }

    fn pick_ready(&mut self) -> Option<Peer> {
        self.pick().filter(|peer| self.world.is_ready(*peer))
    }

    fn pick_delivered(&mut self) -> Option<usize> {
        (!self.delivered.is_empty()).then(|| self.index(self.delivered.len()))
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.dice.below(len.max(1) as u64)).unwrap_or(0)
    }
}

/// Names that are offered and called; some are prefixes of others.
const NAMES: [&str; 6] = ["a", "a.b", "a.b.c", "b", "c.d", "ipc.x"];
/// Targets of which the whole, a prefix or nothing may be registered.
const TARGETS: [&str; 7] = ["a.run", "a.b.run", "b.run", "c.d.run", "c", "nobody.run", "ipc.list"];
const OPERATIONS: [&str; 11] =
    ["", "ping", "list", "peers", "stats", "limits", "show", "register", "unregister", "topics", "nothing"];
/// Locks with their places. One has the name of a service.
const LOCKS: [(&str, u32); 4] = [("a", 1), ("l", 1), ("l.many", 2), ("ipc.l", 1)];
const TOPICS: [&str; 6] = ["t.a", "t.b", "t.a.b", "u", "u.a", "ipc.x"];
const PATTERNS: [&str; 8] = ["t.a", "t.", "t.*", "*.a", "**", "u", "t.*.b", "u.**"];
/// Length of the longest body.
const LONGEST: usize = 6_000;

/// Limits so low that a walk runs into them.
fn small(limits: &mut Limits) {
    let defaults = Limits::default();
    *limits = defaults;
    limits.body_bytes = LONGEST as u64;
    limits.hello_ms = 40;
    limits.connections = 10;
    limits.connections_per_uid = 8;
    limits.connections_reserved = 2;
    limits.frame_ms = 60;
    limits.frame_step = 300;
    limits.unread_soft_bytes = 4_000;
    limits.unread_hard_bytes = 16_000;
    limits.bytes_per_uid = 22_000;
    limits.bytes_total = 30_000;
    limits.calls_per_caller = 5;
    limits.calls_per_service = 6;
    limits.names_per_peer = 3;
    limits.subscriptions_per_peer = 3;
    limits.pattern_bytes_per_peer = 10;
    limits.queue_events = 4;
    limits.locks_per_peer = 3;
    limits.retained_bytes_per_uid = 5_000;
    limits.retained_bytes = 6_000;
    limits.stray_replies = 4;
    limits.turn_frames = 2;
    limits.turn_frames_total = 3;
    limits.turn_frames_strangers = 2;
}
