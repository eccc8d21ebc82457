//! The broker's part between one service and its clients, without IO: messages and the time go in, messages come out. What takes a
//! broker (events, locks, other names) is refused with `no_method` or `no_service`.
//!
//! ```text
//! client: call 7 ---> waits for room in the window ---> service: call 1, with the caller's stamp
//! client: reply 7 <------------------------------------ service: reply 1
//! ```
//!
//! All sides are of this process and of this library. So what a stranger could do is not checked again: frames have the limits of their
//! sessions, and items their credit.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{
    Call, Cancel, Credit, Encoding, ErrorCode, Failure, Features, Identity, Message, PeerNumber, Reply, Retry,
    ServiceName, Streams, Versions, Welcome,
    control::{self, operation, operation::Operation},
    json,
    limits::{DEFAULT_TIMEOUT_MS, MAX_BODY, MAX_TIMEOUT_MS},
};

/// What is to be sent, each with its receiver.
pub(super) type Outputs = Vec<(PeerNumber, Message)>;

/// Who is here, and the calls between them.
pub(super) struct Exchange {
    /// Of this process.
    identity: Identity,
    peers: BTreeMap<PeerNumber, Peer>,
    last_peer: u64,
    service: Option<Registered>,
    /// Calls that are not answered, by the number that they are delivered with.
    calls: BTreeMap<u64, Slot>,
    last_call: u64,
    deadlines: BTreeSet<(Instant, u64)>,
}

struct Peer {
    stamp: Bytes,
    /// Its calls that have not ended for it, by its own numbers.
    pending: BTreeMap<u64, u64>,
}

struct Registered {
    peer: PeerNumber,
    name: Option<ServiceName>,
    streams: bool,
    window: u32,
    /// Delivered calls that it has not answered.
    running: u32,
    /// Calls that wait for room in the window.
    queue: VecDeque<u64>,
    /// Until it unregisters.
    is_on_offer: bool,
}

struct Slot {
    /// None once the call has ended for its caller, and for a one-way call.
    caller: Option<(PeerNumber, u64)>,
    stage: Stage,
    deadline: Instant,
    /// What the deadline was made of: that of a call with streams starts anew with each item.
    time: Duration,
    streams: Streams,
    /// Items that were sent on, to the service and to the caller.
    items: [u64; 2],
}

enum Stage {
    /// For room in the window; with what has come for it meanwhile.
    Waiting(Box<Call>, Vec<Message>),
    Running,
    /// The service was told that no one waits, and still owes an answer.
    Over,
}

impl Exchange {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            peers: BTreeMap::new(),
            last_peer: 0,
            service: None,
            calls: BTreeMap::new(),
            last_call: 0,
            deadlines: BTreeSet::new(),
        }
    }

    /// Someone new.
    pub(super) fn enter(&mut self) -> PeerNumber {
        self.last_peer += 1;
        let number = PeerNumber(self.last_peer);
        let stamp = self.identity.stamp(Some(number));
        self.peers.insert(number, Peer { stamp, pending: BTreeMap::new() });
        number
    }

    /// A peer has closed its end: its calls are cancelled, and those that it was to answer have lost their service.
    pub(super) fn leave(&mut self, peer: PeerNumber, out: &mut Outputs) {
        let Some(gone) = self.peers.remove(&peer) else { return };
        for number in gone.pending.into_values() {
            self.end(number, ErrorCode::CANCELLED, "the caller went away", out);
        }
        if self.service.as_ref().is_some_and(|service| service.peer == peer) {
            self.service = None;
            let calls: Vec<u64> = self.calls.keys().copied().collect();
            calls.into_iter().for_each(|number| self.end(number, ErrorCode::SERVICE_GONE, GONE, out));
            self.calls.clear();
        }
    }

    /// The next deadline.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Who answers calls, if there is one.
    pub(super) fn service(&self) -> Option<PeerNumber> {
        self.service.as_ref().map(|service| service.peer)
    }

    /// Ends the calls whose deadlines have passed.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Outputs) {
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.end(number, ErrorCode::DEADLINE, "no answer came before the deadline", out);
        }
    }

    /// A message of a peer.
    pub(super) fn take(&mut self, now: Instant, from: PeerNumber, message: Message, out: &mut Outputs) {
        match message {
            Message::Hello(_) => out.push((from, Message::Welcome(welcome(from)))),
            Message::Ping(id) => out.push((from, Message::Pong(id))),
            Message::Call(call) => {
                let id = call.id;
                if let Err(failure) = self.call(now, from, call, out) {
                    out.push((from, Message::Error(Failure { id, ..failure })));
                }
            }
            Message::Event(event) => {
                out.push((from, Message::Error(Failure { id: event.id, ..unknown("publish") })));
            }
            Message::Reply(reply) => {
                let caller = self.answered(from, reply.id);
                out.extend(caller.map(|(peer, id)| (peer, Message::Reply(Reply { id, ..reply }))));
                self.feed(now, out);
            }
            Message::Error(failure) => {
                let caller = self.answered(from, failure.id);
                out.extend(caller.map(|(peer, id)| (peer, Message::Error(Failure { id, ..failure }))));
                self.feed(now, out);
            }
            Message::Cancel(cancel) => {
                if let Some(number) = self.peers.get(&from).and_then(|peer| peer.pending.get(&cancel.id)) {
                    self.end(*number, ErrorCode::CANCELLED, "the caller cancelled", out);
                }
            }
            Message::Item(_) | Message::End(_) | Message::Credit(_) => self.flow(now, from, message, out),
            Message::Goodbye(_) => self.leave(from, out),
            _ => {} // a pong: it was asked for nothing else
        }
    }

    /// A call goes to the service, or waits for room there.
    fn call(&mut self, now: Instant, from: PeerNumber, mut call: Call, out: &mut Outputs) -> Result<(), Failure> {
        if let Some(operation) = operation_of(&call) {
            let answer = self.operate(from, &operation, &call, out)?;
            if !call.one_way {
                out.push((from, Message::Reply(Reply { id: call.id, encoding: Encoding::JSON, body: answer.into() })));
            }
            return Ok(());
        }
        let service = self.resolve(&mut call)?;
        if call.streams.any() && (call.one_way || !service.streams) {
            let text = if call.one_way { "a one-way call has no streams" } else { "the service takes no streams" };
            return Err(Failure::new(0, ErrorCode::INVALID, text));
        }
        if self.calls.len() >= CALLS {
            let text = format!("{CALLS} calls wait for the service already, the limit of a connected pair");
            return Err(Failure::new(0, ErrorCode::BUSY, text));
        }
        self.last_call += 1;
        let number = self.last_call;
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        call.caller = peer.stamp.clone();
        call.detach();
        let caller = (!call.one_way).then_some((from, call.id));
        if caller.is_some() {
            peer.pending.insert(call.id, number);
        }
        let time = Duration::from_millis(u64::from(match call.timeout_ms {
            0 => DEFAULT_TIMEOUT_MS,
            ms => ms.min(MAX_TIMEOUT_MS),
        }));
        let (deadline, streams) = (now + time, call.streams);
        let stage = Stage::Waiting(Box::new(call), Vec::new());
        self.calls.insert(number, Slot { caller, stage, deadline, time, streams, items: [0; 2] });
        self.deadlines.insert((deadline, number));
        if let Some(service) = &mut self.service {
            service.queue.push_back(number);
        }
        self.feed(now, out);
        Ok(())
    }

    /// The service that a call is for. A dotted target is split as a broker does (docs/protocol.md, "Targets").
    fn resolve(&mut self, call: &mut Call) -> Result<&mut Registered, Failure> {
        let called = String::from_utf8_lossy(call.routing.service()).into_owned();
        let nothing = || {
            let text = format!("a connected pair has its own service alone, and no '{called}'");
            Failure::new(0, ErrorCode::NO_SERVICE, text)
        };
        let service = self.service.as_mut().filter(|service| service.is_on_offer).ok_or_else(nothing)?;
        let is_its = |text: &str| service.name.as_ref().is_some_and(|name| name.as_str() == text);
        if PeerNumber::parse_address(called.as_bytes()) == Some(service.peer) || is_its(&called) {
            return Ok(service);
        }
        match called.rsplit_once('.') {
            Some((name, method)) if call.routing.method().is_empty() && is_its(name) => {
                call.routing = call.routing.retarget(name, method);
                Ok(service)
            }
            _ => Err(nothing()),
        }
    }

    /// The few operations of `ipc` that a service needs.
    fn operate(
        &mut self,
        from: PeerNumber,
        operation: &str,
        call: &Call,
        out: &mut Outputs,
    ) -> Result<Vec<u8>, Failure> {
        match operation {
            operation::Register::NAME => {
                let asked: control::Register = read(call)?;
                if let Some(other) = &self.service {
                    let text = format!("a connected pair has room for one service, which is peer {}", other.peer);
                    return Err(Failure::new(0, ErrorCode::NAME_TAKEN, text));
                }
                self.service = Some(Registered {
                    peer: from,
                    name: asked.name,
                    streams: asked.streams,
                    window: asked.window.max(1),
                    running: 0,
                    queue: VecDeque::new(),
                    is_on_offer: true,
                });
                Ok(write(&control::Registered { peer: from }))
            }
            operation::Unregister::NAME => {
                self.withdraw(from, out);
                Ok(write(&control::Empty {}))
            }
            "" | operation::Ping::NAME => Ok(write(&control::Empty {})),
            other => Err(unknown(other)),
        }
    }

    /// The service takes no more calls, and answers those that it has.
    fn withdraw(&mut self, from: PeerNumber, out: &mut Outputs) {
        let Some(service) = self.service.as_mut().filter(|service| service.peer == from) else { return };
        service.is_on_offer = false;
        let waiting: Vec<u64> = service.queue.iter().copied().collect();
        waiting.into_iter().for_each(|number| self.end(number, ErrorCode::SERVICE_GONE, GONE, out));
    }

    /// Delivers calls as long as there is room.
    fn feed(&mut self, now: Instant, out: &mut Outputs) {
        let Some(service) = &mut self.service else { return };
        while service.running < service.window {
            let Some(number) = service.queue.pop_front() else { return };
            let Some(slot) = self.calls.get_mut(&number) else { continue };
            if let Stage::Waiting(call, held) = std::mem::replace(&mut slot.stage, Stage::Running) {
                service.running += 1;
                let left = if slot.streams.any() { slot.time } else { slot.deadline.saturating_duration_since(now) };
                let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(MAX_TIMEOUT_MS).max(1);
                out.push((service.peer, Message::Call(Call { id: number, timeout_ms, ..*call })));
                out.extend(held.into_iter().map(|message| (service.peer, addressed(message, number, true))));
            }
        }
    }

    /// The service has answered, which makes room for the next call. Gives the caller, if it waits.
    fn answered(&mut self, from: PeerNumber, number: u64) -> Option<(PeerNumber, u64)> {
        let service = self.service.as_mut().filter(|service| service.peer == from)?;
        let slot = self.calls.remove(&number)?;
        service.running = service.running.saturating_sub(1);
        self.deadlines.remove(&(slot.deadline, number));
        let (peer, id) = slot.caller?;
        self.forget(peer, id);
        Some((peer, id))
    }

    /// Ends a call for its caller. The service, if it has the call, is told that no one waits.
    fn end(&mut self, number: u64, code: ErrorCode, text: &str, out: &mut Outputs) {
        let Some(slot) = self.calls.get_mut(&number) else { return };
        self.deadlines.remove(&(slot.deadline, number));
        let (caller, [to_service, to_caller]) = (slot.caller.take(), slot.items);
        let streams = slot.streams;
        let stage = std::mem::replace(&mut slot.stage, Stage::Over);
        let was_delivered = !matches!(stage, Stage::Waiting(..));
        match (stage, &mut self.service) {
            (Stage::Waiting(..), service) => {
                self.calls.remove(&number);
                if let Some(service) = service {
                    service.queue.retain(|other| *other != number);
                }
            }
            (Stage::Running, Some(service)) => {
                let delivered = streams.reply.then_some(to_caller);
                out.push((service.peer, Message::Cancel(Cancel { id: number, reason: code, delivered })));
            }
            (Stage::Running, None) | (Stage::Over, _) => {}
        }
        if let Some((peer, id)) = caller {
            self.forget(peer, id);
            let retry = if was_delivered { Retry::Unknown } else { Retry::Safe };
            let delivered = (was_delivered && streams.request).then_some(to_service);
            out.push((peer, Message::Error(Failure { retry, delivered, ..Failure::new(id, code, text) })));
        }
    }

    /// An item, an end or a credit goes to the other side of its call.
    fn flow(&mut self, now: Instant, from: PeerNumber, message: Message, out: &mut Outputs) {
        let (id, is_of_service) = match &message {
            Message::Item(item) => (item.id, item.delivered),
            Message::Credit(credit) => (credit.id, credit.delivered),
            Message::End(end) => (end.id, false),
            _ => return,
        };
        let Some(service) = self.service.as_ref().map(|service| service.peer) else { return };
        let number = match is_of_service {
            true if service == from => id,
            true => return,
            false => match self.peers.get(&from).and_then(|peer| peer.pending.get(&id)) {
                Some(number) => *number,
                None => return, // the call has ended meanwhile
            },
        };
        let Some(slot) = self.calls.get_mut(&number) else { return };
        let Some((caller, callers_id)) = slot.caller else { return };
        self.deadlines.remove(&(slot.deadline, number));
        slot.deadline = now + slot.time;
        self.deadlines.insert((slot.deadline, number));
        if let Stage::Waiting(_, held) = &mut slot.stage {
            return hold(held, message);
        }
        if matches!(message, Message::Item(_)) {
            slot.items[usize::from(is_of_service)] += 1;
        }
        out.push(match is_of_service {
            true => (caller, addressed(message, callers_id, false)),
            false => (service, addressed(message, number, true)),
        });
    }

    fn forget(&mut self, peer: PeerNumber, id: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.pending.remove(&id);
        }
    }
}

/// Keeps what belongs to a call that was not delivered: its end, and the sum of its credit.
fn hold(held: &mut Vec<Message>, message: Message) {
    match (held.first_mut(), message) {
        (Some(Message::Credit(sum)), Message::Credit(more)) => {
            *sum = Credit {
                items: sum.items.saturating_add(more.items),
                bytes: sum.bytes.saturating_add(more.bytes),
                ..*sum
            };
        }
        (_, credit @ Message::Credit(_)) => held.insert(0, credit),
        (_, message) => held.push(message),
    }
}

/// The same message with the number that its receiver knows the call by.
fn addressed(message: Message, id: u64, delivered: bool) -> Message {
    match message {
        Message::Item(mut item) => {
            (item.id, item.delivered) = (id, delivered);
            Message::Item(item)
        }
        Message::Credit(credit) => Message::Credit(Credit { id, delivered, ..credit }),
        Message::End(mut end) => {
            end.id = id;
            Message::End(end)
        }
        other => other,
    }
}

/// The operation of service `ipc` that is called, if it is one.
fn operation_of(call: &Call) -> Option<String> {
    let (service, method) = (call.routing.service(), call.routing.method());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if service == control::SERVICE.as_bytes() {
        return Some(text(method));
    }
    let rest = service.strip_prefix(control::SERVICE.as_bytes())?.strip_prefix(b".")?;
    method.is_empty().then(|| text(rest))
}

fn unknown(operation: &str) -> Failure {
    let text = format!("a connected pair has no broker between its sides: '{operation}' needs one");
    Failure::new(0, ErrorCode::NO_METHOD, text)
}

fn read<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Failure> {
    json::decode_object(&call.body).map_err(|error| Failure::new(0, ErrorCode::INVALID, error.to_string()))
}

/// JSON refuses none of the answers: they are structs of texts and numbers.
fn write<T: serde::Serialize>(answer: &T) -> Vec<u8> {
    json::encode(answer).unwrap_or_default()
}

fn welcome(peer: PeerNumber) -> Welcome {
    Welcome {
        version: Versions::SUPPORTED.highest,
        features: Features::SUPPORTED,
        peer,
        max_body: MAX_BODY,
        call_default_ms: DEFAULT_TIMEOUT_MS,
        call_max_ms: MAX_TIMEOUT_MS,
        agent: "a connected pair".to_owned(),
    }
}

const GONE: &str = "the service went away";
/// Calls that are not answered, of all clients together: as many as a broker allows one caller.
pub(super) const CALLS: usize = 1_024;

#[cfg(test)]
mod tests {
    use ipc_protocol::{End, Hello, Routing};

    use super::*;

    /// A service `calc` with a window of one, and a client.
    struct Pair {
        exchange: Exchange,
        service: PeerNumber,
        client: PeerNumber,
        now: Instant,
    }

    impl Pair {
        fn new() -> Self {
            let mut exchange = Exchange::new(Identity::new(7, 7));
            let (service, client) = (exchange.enter(), exchange.enter());
            let mut pair = Self { exchange, service, client, now: Instant::now() };
            let Message::Reply(_) = pair.register(service) else { panic!("not registered") };
            pair
        }

        fn register(&mut self, peer: PeerNumber) -> Message {
            let body = br#"{"name":"calc","window":1,"streams":true}"#.to_vec().into();
            let call = Call { routing: Routing::to("ipc", "register").build(), body, ..call(1) };
            self.one(peer, Message::Call(call))
        }

        fn take(&mut self, from: PeerNumber, message: Message) -> Outputs {
            let mut out = Outputs::new();
            self.exchange.take(self.now, from, message, &mut out);
            out
        }

        /// The only message that another one leads to.
        fn one(&mut self, from: PeerNumber, message: Message) -> Message {
            let mut out = self.take(from, message);
            assert_eq!(out.len(), 1, "{out:?}");
            out.remove(0).1
        }

        fn expire(&mut self, after: Duration) -> Outputs {
            let mut out = Outputs::new();
            self.now += after;
            self.exchange.expire(self.now, &mut out);
            out
        }
    }

    fn call(id: u64) -> Call {
        Call {
            id,
            one_way: false,
            streams: Streams::NONE,
            encoding: Encoding::BYTES,
            timeout_ms: 1_000,
            caller: Bytes::new(),
            routing: Routing::to("calc", "add").build(),
            body: Bytes::new().into(),
        }
    }

    fn credit(id: u64, delivered: bool, items: u32) -> Credit {
        Credit { id, delivered, items, bytes: 10 }
    }

    fn reply(id: u64) -> Message {
        Message::Reply(Reply { id, encoding: Encoding::BYTES, body: Bytes::new().into() })
    }

    #[test]
    fn a_call_comes_with_the_stamp_of_its_caller_and_its_answer_under_its_number() {
        let mut pair = Pair::new();
        let Message::Call(delivered) = pair.one(pair.client, Message::Call(call(7))) else { panic!("no call") };
        assert_eq!((delivered.id, delivered.timeout_ms), (1, 1_000));
        assert_eq!(Identity::from_stamp(&delivered.caller), Ok((Identity::new(7, 7), Some(pair.client))));
        assert_eq!(pair.take(pair.service, reply(1)), [(pair.client, reply(7))]);
        assert!(pair.take(pair.service, reply(1)).is_empty(), "it has ended");
    }

    #[test]
    fn a_late_answer_is_dropped_and_makes_room_for_the_next_call() {
        let mut pair = Pair::new();
        pair.one(pair.client, Message::Call(call(7)));
        assert!(pair.take(pair.client, Message::Call(Call { timeout_ms: 5_000, ..call(8) })).is_empty());
        let [(_, Message::Cancel(cancel)), (_, Message::Error(failure))] = &pair.expire(Duration::from_secs(1))[..]
        else {
            panic!("not ended")
        };
        assert_eq!((cancel.id, cancel.reason), (1, ErrorCode::DEADLINE));
        assert_eq!((failure.id, failure.code, failure.retry), (7, ErrorCode::DEADLINE, Retry::Unknown));
        let Message::Call(next) = pair.one(pair.service, reply(1)) else { panic!("no call") };
        assert_eq!((next.id, next.timeout_ms), (2, 4_000));
    }

    #[test]
    fn what_comes_before_its_call_is_delivered_follows_it() {
        let mut pair = Pair::new();
        pair.one(pair.client, Message::Call(call(7)));
        let streams = Streams { request: true, reply: true };
        pair.take(pair.client, Message::Call(Call { streams, ..call(8) }));
        pair.take(pair.client, Message::End(End::complete(8)));
        pair.take(pair.client, Message::Credit(credit(8, false, 2)));
        pair.take(pair.client, Message::Credit(credit(8, false, 3)));
        let came: Vec<Message> = pair.take(pair.service, reply(1)).into_iter().map(|(_, message)| message).collect();
        let sum = Credit { bytes: 20, ..credit(2, true, 5) };
        assert!(matches!(&came[1], Message::Call(next) if next.id == 2), "{came:?}");
        assert_eq!(came[2..], [Message::Credit(sum), Message::End(End::complete(2))]);
    }

    #[test]
    fn the_deadline_of_a_stream_starts_anew_with_each_frame() {
        let mut pair = Pair::new();
        let streams = Streams { request: true, reply: true };
        pair.one(pair.client, Message::Call(Call { streams, ..call(7) }));
        assert!(pair.expire(Duration::from_millis(900)).is_empty());
        pair.one(pair.service, Message::Credit(credit(1, true, 1)));
        assert!(pair.expire(Duration::from_millis(900)).is_empty());
        assert_eq!(pair.expire(Duration::from_millis(100)).len(), 2);
    }

    #[test]
    fn a_second_service_is_refused_until_the_first_has_left() {
        let mut pair = Pair::new();
        let Message::Error(failure) = pair.register(pair.client) else { panic!("registered") };
        assert_eq!(failure.code, ErrorCode::NAME_TAKEN);
        pair.exchange.leave(pair.service, &mut Outputs::new());
        let Message::Error(failure) = pair.one(pair.client, Message::Call(call(9))) else { panic!("no error") };
        assert_eq!((failure.code, failure.retry), (ErrorCode::NO_SERVICE, Retry::Safe));
    }

    #[test]
    fn callers_who_cancel_leave_nothing_behind() {
        let mut pair = Pair::new();
        for id in 7..2_000 {
            pair.take(pair.client, Message::Call(call(id)));
            pair.take(pair.client, Message::Cancel(Cancel { id, reason: ErrorCode::CANCELLED, delivered: None }));
        }
        assert!(pair.exchange.calls.len() == 1 && pair.exchange.deadlines.is_empty());
        assert!(pair.exchange.service.as_ref().unwrap().queue.is_empty());
        assert!(matches!(pair.one(pair.client, Message::Hello(Hello::new("a"))), Message::Welcome(_)));
    }
}
