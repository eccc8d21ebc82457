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

/// What is to be sent, and to whom.
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

    /// The service has answered, which makes room for the next call. Says whom, if a caller waits.
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
