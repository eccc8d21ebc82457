//! What tests do in the world: connect, call, answer, cancel, advance the clock.

use bytes::Bytes;
use ipc_protocol::{
    Body, Call, Cancel, Encoding, ErrorCode, Failure, FieldTag, Goodbye, Header, Hello, Identity, Kind, Message,
    Routing, Violation, control, wire,
};
use ipcd::{
    core::{Begun, Input, Limits, Moment, PeerId, ReturnAddress},
    front,
};

use super::{OWNER, Peer, Request, Ticket, World, fake::Fake, ledger::Sender, lines::Lines, model::Promise};

/// A call as a service received it.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) to: Peer,
    /// The call, with the broker's number for it.
    pub(crate) call: Call,
}

impl Delivered {
    pub(crate) fn service(&self) -> &str {
        str::from_utf8(self.call.routing.service()).expect("names are ASCII")
    }

    pub(crate) fn method(&self) -> &str {
        str::from_utf8(self.call.routing.method()).expect("names are ASCII")
    }
}

impl World {
    // ---- connections

    /// Connects a peer that says hello.
    pub(crate) fn peer(&mut self, uid: u32) -> Peer {
        let peer = self.stranger(uid);
        self.greet(peer, Hello::new("fake 1.0"));
        peer
    }

    /// Connects a peer that has not said hello.
    pub(crate) fn stranger(&mut self, uid: u32) -> Peer {
        self.connect(uid).unwrap_or_else(|goodbye| panic!("user {uid} is refused: {}", goodbye.text))
    }

    /// Connects a peer, unless the router refuses it.
    pub(crate) fn connect(&mut self, uid: u32) -> Result<Peer, Goodbye> {
        let mut identity = Identity::new(uid, uid + 1);
        identity.pid = Some(4_000 + u32::try_from(self.fakes.len()).expect("a test has few peers"));
        identity.groups = vec![24, 25];
        let connecting = identity.clone();
        let id = self.step(|router, now, out| router.connect(now, connecting, out))?;
        let peer = Peer(self.fakes.len());
        let lines = (self.is_mixed && peer.0 % 3 == 2).then(Lines::default);
        self.fakes.push(Fake::new(id, identity, lines));
        assert_eq!(self.by_id.insert(id.to_bits(), peer), None, "an id is given out twice");
        Ok(peer)
    }

    /// Closes a connection from the peer's side.
    pub(crate) fn disconnect(&mut self, peer: Peer) {
        if self.fakes[peer.0].is_open() {
            self.close(peer);
            self.carry_out();
            self.flush();
        }
    }

    /// The peer reads nothing until [`World::resume_reading`].
    pub(crate) fn pause_reading(&mut self, peer: Peer) {
        self.fakes[peer.0].reads = false;
    }

    /// The peer reads everything, now and later.
    pub(crate) fn resume_reading(&mut self, peer: Peer) {
        self.fakes[peer.0].reads = true;
        if self.fakes[peer.0].sunk > 0 {
            self.look(peer, 0);
        }
        self.flush();
    }

    /// The server finds that the kernel holds this much for a peer. One that has paused and had that much before reads nothing.
    pub(crate) fn look(&mut self, peer: Peer, bytes: usize) {
        let fake = &mut self.fakes[peer.0];
        if fake.is_open() {
            let is_stuck = !fake.reads && bytes > 0 && bytes == fake.sunk;
            fake.sunk = bytes;
            let to = fake.id;
            self.tell(Input::Sunk { to, bytes, is_stuck });
        }
    }

    /// A paused peer reads a few bytes.
    pub(crate) fn read_a_little(&mut self, peer: Peer, bytes: usize) {
        let fake = &mut self.fakes[peer.0];
        let cost = fake.read(bytes);
        self.note_written(peer, cost);
        self.carry_out();
        self.flush();
        self.let_go(peer);
        self.step(|_, _, _| ());
    }

    // ---- services

    /// A peer of the broker's user that offers a name, with a window of eight.
    pub(crate) fn service(&mut self, name: &str) -> Peer {
        self.worker(name, 8)
    }

    /// A peer of the broker's user that offers a name exclusively.
    pub(crate) fn worker(&mut self, name: &str, window: u32) -> Peer {
        let peer = self.peer(OWNER);
        self.offer(peer, Some(name), window);
        peer
    }

    /// A peer of the broker's user that offers a shared name.
    pub(crate) fn instance(&mut self, name: &str, window: u32) -> Peer {
        let peer = self.peer(OWNER);
        let request = control::Register { shared: true, ..registration(Some(name), window) };
        let ticket = self.make(peer, Request::register(&request));
        self.expect_reply(ticket);
        peer
    }

    /// A peer of the broker's user that offers a name exclusively and takes streams.
    pub(crate) fn streamer(&mut self, name: &str, window: u32) -> Peer {
        let peer = self.peer(OWNER);
        let request = control::Register { streams: true, ..registration(Some(name), window) };
        let ticket = self.make(peer, Request::register(&request));
        self.expect_reply(ticket);
        peer
    }

    /// Registers an exclusive name, or no name.
    pub(crate) fn offer(&mut self, peer: Peer, name: Option<&str>, window: u32) {
        let ticket = self.register(peer, name, window);
        self.expect_reply(ticket);
    }

    /// As [`World::offer`], but may be refused.
    pub(crate) fn register(&mut self, peer: Peer, name: Option<&str>, window: u32) -> Ticket {
        self.make(peer, Request::register(&registration(name, window)))
    }

    pub(crate) fn unregister(&mut self, peer: Peer, name: Option<&str>) -> Ticket {
        self.make(peer, Request::unregister(name))
    }

    // ---- calls

    /// A call with the default deadline.
    pub(crate) fn call(&mut self, from: Peer, service: &str, method: &str, body: &[u8]) -> Ticket {
        self.make(from, Request::to(service, method).body(body))
    }

    /// Several calls of a default method, one after another.
    pub(crate) fn call_each<const N: usize>(&mut self, from: Peer, service: &str, bodies: [&str; N]) -> Vec<Ticket> {
        bodies.iter().map(|body| self.call(from, service, "", body.as_bytes())).collect()
    }

    /// A call of the broker's own service.
    pub(crate) fn ipc(&mut self, from: Peer, operation: &str, body: &str) -> Ticket {
        self.call(from, "ipc", operation, body.as_bytes())
    }

    pub(crate) fn make(&mut self, from: Peer, request: Request) -> Ticket {
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        fake.last_call += 1;
        let who = (Sender::Peer(from), fake.last_call, fake.identity.uid);
        let (ticket, call) = self.enter(who, request);
        if self.fakes[from.0].lines.as_ref().is_some_and(Lines::is_batching) {
            self.ledger.depart(ticket);
        }
        self.send(from, Message::Call(call));
        ticket
    }

    /// A call of which only the first `at` bytes are sent.
    pub(crate) fn make_cut(&mut self, from: Peer, request: Request, at: usize) -> Ticket {
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        fake.last_call += 1;
        let who = (Sender::Peer(from), fake.last_call, fake.identity.uid);
        let (ticket, call) = self.enter(who, request);
        let Some(bytes) = self.fakes[from.0].words(&Message::Call(call)) else { return ticket };
        if at < bytes.len() {
            self.ledger.depart(ticket);
            self.fakes[from.0].cut_call = Some(ticket);
        }
        self.send_bytes_cut(from, bytes, at);
        ticket
    }

    /// A call whose body is over the limit: its header arrives, and its body is skipped.
    pub(crate) fn make_too_large(&mut self, from: Peer, request: Request, body_len: u32) -> Ticket {
        if self.speaks_json(from) {
            let body = self.too_large();
            return self.make(from, request.body(&body));
        }
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        fake.last_call += 1;
        let (id, number, uid) = (fake.id, fake.last_call, fake.identity.uid);
        let (ticket, _) = self.enter((Sender::Peer(from), number, uid), request);
        self.begin(id, &Header { body_len, ..Header::new(Kind::CALL, number) });
        ticket
    }

    /// A call to a name that cannot exist.
    pub(crate) fn make_misnamed(&mut self, from: Peer) -> Ticket {
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        fake.last_call += 1;
        let who = (Sender::Peer(from), fake.last_call, fake.identity.uid);
        let (ticket, call) = self.enter(who, Request::to("name", ""));
        let mut bytes = self.fakes[from.0].words(&Message::Call(call)).expect("it goes into no batch");
        let at = bytes.windows(4).position(|name| name == b"name").expect("it names a service");
        bytes[at..at + 4].copy_from_slice(b"NAME");
        self.send_bytes(from, &bytes);
        ticket
    }

    /// A peer sends bytes.
    pub(super) fn send_bytes(&mut self, from: Peer, bytes: &[u8]) {
        self.fakes[from.0].kernel.extend(bytes);
        self.router.ready(self.fakes[from.0].id);
        self.step(|_, _, _| ());
    }

    /// A call by datagram. Its answer goes to the abstract address `reply_to`.
    pub(crate) fn datagram(&mut self, uid: u32, reply_to: Option<&str>, request: Request) -> Ticket {
        self.datagrams += 1;
        let (ticket, call) = self.enter((Sender::Datagram, self.datagrams, uid), request);
        if reply_to.is_none() {
            self.ledger.forget(ticket); // no one can be told how it ends
        }
        self.send_datagram(uid, reply_to, Message::Call(call));
        ticket
    }

    /// Sends any message by datagram.
    pub(crate) fn send_datagram(&mut self, uid: u32, reply_to: Option<&str>, message: Message) {
        let reply_to = reply_to.map(|name| ReturnAddress::from_abstract(name.as_bytes(), uid));
        let bytes = Bytes::from(message.to_vec());
        self.tell(front::datagram::decode(bytes, Identity::new(uid, uid), reply_to));
    }

    /// Expects no end of a datagram that was dropped.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.ledger.forget(ticket);
    }

    /// From now on answers to datagrams cannot be sent.
    pub(crate) fn refuse_answers(&mut self) {
        self.takes_answers = false;
    }

    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        let Sender::Peer(peer) = self.ledger.sender(ticket) else { return };
        self.ledger.cancelled(ticket);
        let cancel = Cancel { id: self.ledger.id(ticket), reason: ErrorCode::CANCELLED, delivered: None };
        self.send(peer, Message::Cancel(cancel));
    }

    /// Sends any message; nothing from a peer that has gone.
    pub(crate) fn send(&mut self, from: Peer, message: Message) {
        self.send_cut(from, &message, usize::MAX);
    }

    /// Sends the first `at` bytes of a message. The rest follows with [`World::send_rest`], or before the next message.
    pub(crate) fn send_cut(&mut self, from: Peer, message: &Message, at: usize) {
        if let Some(bytes) = self.fakes[from.0].words(message) {
            self.send_bytes_cut(from, bytes, at);
        }
    }

    pub(super) fn send_bytes_cut(&mut self, from: Peer, mut bytes: Vec<u8>, at: usize) {
        self.send_rest(from);
        let fake = &mut self.fakes[from.0];
        if fake.is_open() && !fake.ended {
            if !fake.rest.is_empty() {
                fake.rest.extend(bytes); // it follows the frame that waits for room, or until its sender reads
                fake.cut_call = None; // it has not begun, and its time neither
                return self.ledger.hold_back(Sender::Peer(from));
            }
            fake.rest = bytes.split_off(at.min(bytes.len()));
            fake.kernel.extend(bytes);
            self.router.ready(self.fakes[from.0].id);
            self.step(|_, _, _| ());
        }
    }

    /// Sends the rest of a message that was cut.
    pub(crate) fn send_rest(&mut self, from: Peer) {
        if self.hand_rest_to_kernel(from) {
            self.router.ready(self.fakes[from.0].id);
            self.step(|_, _, _| ());
        }
    }

    /// Up to `bytes` bytes more of a message that was cut, but not its last one.
    pub(crate) fn send_part(&mut self, from: Peer, bytes: usize) {
        let fake = &mut self.fakes[from.0];
        if fake.rest.is_empty() || fake.ended || fake.parked || fake.held_back {
            return;
        }
        let part = fake.rest.drain(..bytes.min(fake.rest.len() - 1));
        fake.kernel.extend(part);
        self.router.ready(self.fakes[from.0].id);
        self.step(|_, _, _| ());
    }

    /// The rest of a message that was cut, and the first `at` bytes of a call behind it, in one write.
    pub(crate) fn send_rest_and_make(&mut self, from: Peer, request: Request, at: usize) -> Ticket {
        self.hand_rest_to_kernel(from);
        self.make_cut(from, request, at)
    }

    /// Whether there was a rest, the peer has not finished sending, and the broker reads.
    fn hand_rest_to_kernel(&mut self, from: Peer) -> bool {
        let fake = &mut self.fakes[from.0];
        if fake.rest.is_empty() || fake.ended || fake.parked || fake.held_back {
            return false;
        }
        let rest = std::mem::take(&mut fake.rest);
        fake.kernel.extend(rest);
        if let Some(ticket) = fake.cut_call.take() {
            self.ledger.arrive(ticket);
            self.ledger.aim(ticket, &self.model.directory);
        }
        true
    }

    /// The header of a frame that is not sent.
    fn begin(&mut self, from: PeerId, header: &Header) {
        self.tell(Input::Begun { from, frame: Begun::new(header, 0) });
    }

    // ---- answers

    /// The next call in a service's inbox.
    pub(crate) fn next_call(&mut self, service: Peer) -> Delivered {
        self.take_call(service).unwrap_or_else(|| panic!("no call has reached {service:?}"))
    }

    /// The next call in a service's inbox, if there is one.
    pub(crate) fn take_call(&mut self, service: Peer) -> Option<Delivered> {
        let inbox = &mut self.fakes[service.0].inbox;
        let at = inbox.iter().position(|message| matches!(message, Message::Call(_)))?;
        match inbox.remove(at) {
            Some(Message::Call(call)) => Some(Delivered { to: service, call }),
            _ => None,
        }
    }

    pub(crate) fn reply(&mut self, delivered: &Delivered, body: &[u8]) {
        self.answer_as(delivered.to, reply_with(delivered.call.id, body.to_vec().into()));
    }

    /// A service sends the first `at` bytes of its answer.
    pub(crate) fn reply_cut(&mut self, delivered: &Delivered, body: &[u8], at: usize) {
        let id = delivered.call.id;
        let reply = reply_with(id, body.to_vec().into());
        self.send_cut(delivered.to, &reply, at);
    }

    /// Takes a service's next call and answers it.
    pub(crate) fn reply_next(&mut self, service: Peer, body: &[u8]) {
        let delivered = self.next_call(service);
        self.reply(&delivered, body);
    }

    /// A peer stops reading, with `bytes` bytes of an answer from "echo" unread.
    pub(crate) fn let_pile_up(&mut self, peer: Peer, service: Peer, bytes: usize) {
        self.pause_reading(peer);
        self.call(peer, "echo", "", b"");
        self.reply_next(service, &vec![b'x'; bytes]);
    }

    /// A service answers with an error.
    pub(crate) fn fail(&mut self, delivered: &Delivered, code: ErrorCode) {
        self.answer_as(delivered.to, Message::Error(Failure::new(delivered.call.id, code, "no")));
    }

    /// A service sends an answer whose body is over the limit.
    pub(crate) fn reply_too_large(&mut self, delivered: &Delivered, body_len: u32) {
        if self.speaks_json(delivered.to) {
            let body = self.too_large();
            return self.reply(delivered, &body);
        }
        self.send_rest(delivered.to);
        let id = delivered.call.id;
        self.note_answer(delivered.to, id, Promise::TooLong);
        let peer = self.fakes[delivered.to.0].id;
        self.begin(peer, &Header { body_len, ..Header::new(Kind::REPLY, id) });
    }

    /// A peer answers a call, which may be any peer's.
    pub(crate) fn answer_as(&mut self, from: Peer, message: Message) {
        let (Message::Reply(_) | Message::Error(_)) = &message else { panic!("{message:?} is not an answer") };
        self.send(from, message);
    }

    // ---- time, and the broker's life

    /// Time passes; what is out of time meanwhile ends as soon as it is.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = Moment(self.now.0.saturating_add(ms * 1000));
        while let Some(deadline) = self.router.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.expire();
        }
        self.now = end;
        self.ledger.assert_none_overdue(self.now);
    }

    /// Time passes while the broker is stopped; it goes on with what is out of time.
    pub(crate) fn stand_still(&mut self, ms: u64) {
        self.now = Moment(self.now.0.saturating_add(ms * 1000));
        self.expire();
        self.ledger.assert_none_overdue(self.now);
    }

    /// Ends what is out of time now, in as many slices as it takes.
    pub(crate) fn expire(&mut self) {
        let mut slices = 0;
        while self.router.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.tell(Input::Deadline);
            slices += 1;
            assert!(slices < 10_000, "there are always more deadlines");
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Changes the limits, as a reload does.
    pub(crate) fn set_limits(&mut self, change: impl FnOnce(&mut Limits)) {
        let mut limits = self.router.limits().clone();
        change(&mut limits);
        self.tell(Input::Limits(Box::new(limits)));
    }

    /// Stops the broker once running calls have finished.
    pub(crate) fn drain(&mut self) {
        self.tell(Input::Drain);
    }

    /// Stops the broker now.
    pub(crate) fn stop(&mut self) {
        self.tell(Input::Stop);
    }

    /// Serialises the router's state, and goes on with what another process reads from that.
    pub(crate) fn hand_over(&mut self) {
        let state = self.state();
        self.router = serde_json::from_str(&state).expect("serialised state can be read");
        self.fakes.iter_mut().for_each(Fake::hand_over);
        assert_eq!(self.state(), state, "the state changes when it is read back");
        self.router.assert_invariants();
    }

    /// A second world in the same state, which is [`World::state`] and goes its own way.
    pub(crate) fn fork(&self, state: &str) -> Self {
        Self {
            router: serde_json::from_str(state).expect("serialised state can be read"),
            now: self.now,
            out: Vec::new(),
            fakes: self.fakes.iter().map(Fake::fork).collect(),
            is_mixed: self.is_mixed,
            by_id: self.by_id.clone(),
            ledger: self.ledger.clone(),
            model: self.model.clone(),
            events: self.events.clone(),
            locks: self.locks.clone(),
            datagrams: self.datagrams,
            takes_answers: self.takes_answers,
            answers: self.answers.clone(),
            log: Vec::new(),
            unrouted: self.unrouted.clone(),
            turns: self.turns,
        }
    }

    /// From now on no call carries a mark of its own, so that what a peer sends twice is the same.
    pub(crate) fn leave_out_marks(&mut self) {
        self.ledger.leave_out_marks();
    }

    /// The router's state as JSON.
    pub(crate) fn state(&self) -> String {
        serde_json::to_string(&self.router).expect("all state can be serialised")
    }

    /// The router's state as a tree of JSON.
    pub(crate) fn state_value(&self) -> serde_json::Value {
        serde_json::to_value(&self.router).expect("all state can be serialised")
    }

    /// A peer breaks the protocol.
    pub(crate) fn violate(&mut self, peer: Peer, violation: &Violation) {
        let from = self.fakes[peer.0].id;
        self.tell(Input::Violation { from, violation: violation.clone() });
    }

    /// A peer shuts down its sending side.
    pub(crate) fn end_sending(&mut self, peer: Peer) {
        self.fakes[peer.0].ended = true;
        let from = self.fakes[peer.0].id;
        self.tell(Input::Ended { from });
    }

    /// A peer shuts down its receiving side.
    pub(crate) fn turn_deaf(&mut self, peer: Peer) {
        let from = self.fakes[peer.0].id;
        self.tell(Input::Deaf { from });
    }

    /// Whether a frame of the peer waits, for room or until the peer reads.
    pub(crate) fn is_parked(&self, peer: Peer) -> bool {
        self.fakes[peer.0].parked || self.fakes[peer.0].held_back
    }

    pub(super) fn enter(&mut self, who: (Sender, u64, u32), mut request: Request) -> (Ticket, Call) {
        if matches!(who.0, Sender::Peer(from) if self.speaks_json(from)) {
            request = request.in_one();
        }
        let deadline = self.now.after(self.router.limits().timeout(request.timeout_ms));
        let mut routing = Routing::to(&request.service, &request.method);
        if let Some(mark) = self.ledger.next_mark(who.0) {
            routing.put(FieldTag::TRACE, mark.as_bytes());
        }
        let call = Call {
            id: who.1,
            one_way: request.one_way,
            streams: request.streams,
            encoding: request.encoding,
            timeout_ms: request.timeout_ms,
            caller: Bytes::new(),
            routing: routing.build(),
            body: request.body.clone().into(),
        };
        let ticket = self.ledger.open(who, request, deadline);
        self.ledger.aim(ticket, &self.model.directory);
        (ticket, call)
    }

    /// A service answers a call: if the caller waits for that, it must be told in the same step.
    pub(super) fn note_answer(&mut self, from: Peer, id: u64, promise: Promise) {
        if let Some(ticket) = self.fakes[from.0].answer(id) {
            self.ledger.answered(ticket);
            if self.ledger.is_awaited(ticket) == Some(true) {
                self.model.promise(ticket, self.ledger.sender(ticket), promise);
            }
        }
    }
}

/// A reply, as a service sends it.
pub(super) fn reply_with<F>(id: u64, body: Body<F>) -> wire::Message<F> {
    wire::Message::Reply(wire::Reply { id, encoding: Encoding::BYTES, body })
}

/// An exclusive registration.
pub(crate) fn registration(name: Option<&str>, window: u32) -> control::Register {
    let name = name.map(|name| name.parse().expect("a good name"));
    control::Register { streams: false, name, window, shared: false, methods: Vec::new(), description: None }
}
