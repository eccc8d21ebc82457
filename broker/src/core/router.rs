//! The router: owns all routing state, takes what peers send, and decides.

use std::time::Duration;

use ipc_protocol::{
    Call, ErrorCode, Failure, Features, FieldTag, Goodbye, Header, Hello, Identity, Kind, Message, Retry, RoutingError,
    Versions, Violation, Welcome,
};
use serde::{Deserialize, Serialize};

use super::{
    accounts::{Account, Accounts, Full},
    calls::{Caller, Calls},
    counters::Counters,
    datagrams::{Datagram, ReturnAddress},
    deadlines::Deadlines,
    event::{Event, NoPlace, Party},
    limits::{Limits, Use},
    moment::Moment,
    names::Names,
    peers::{Peer, PeerId, Peers, Stage},
    policy::{Operation, Policy, Verdict},
    refusal::Refusal,
    watches::Watches,
};

/// All routing state.
///
/// ```text
/// connect, receive, sent, disconnect, datagram, expire  ->  Router  ->  Outputs: Send, SendDatagram, Cut, Log
/// ```
///
/// Methods take the time as `now` and append to `out` what the caller must do, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Router {
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    pub(super) peers: Peers,
    pub(super) names: Names,
    pub(super) calls: Calls,
    pub(super) deadlines: Deadlines,
    pub(super) watches: Watches,
    pub(super) accounts: Accounts,
    pub(super) counters: Counters,
    /// Set when the broker was told to stop: no new calls.
    pub(super) draining: bool,
    agent: String,
}

/// What the router wants done, in order.
pub type Outputs = Vec<Output>;

/// One thing that the router wants done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Queue a message for a peer. Its bytes are charged until [`Router::sent`] reports them written.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        message: Message,
    },
    /// Send a message to the sender of a datagram; if its socket does not take it, tell [`Router::datagram_dropped`].
    SendDatagram {
        /// To whom.
        to: ReturnAddress,
        /// What.
        message: Message,
    },
    /// Say goodbye, close the connection, and report [`Router::disconnect`].
    Cut {
        /// The peer.
        peer: PeerId,
        /// The last frame to send, if the socket takes it at once.
        goodbye: Goodbye,
    },
    /// Write a line to the log.
    Log(Event),
}

/// Who sent a call, and what it may do.
pub(super) struct Origin {
    pub(super) caller: Caller,
    pub(super) uid: u32,
    pub(super) verdict: Verdict,
    pub(super) stamp: bytes::Bytes,
}

impl Router {
    /// A router without peers. `agent` is the broker's name and version, for people.
    #[must_use]
    pub fn new(limits: Limits, policy: Policy, agent: &str) -> Self {
        Self {
            limits,
            policy,
            peers: Peers::new(),
            names: Names::new(),
            calls: Calls::new(),
            deadlines: Deadlines::new(),
            watches: Watches::default(),
            accounts: Accounts::default(),
            counters: Counters::default(),
            draining: false,
            agent: agent.to_owned(),
        }
    }

    /// A connection was accepted.
    ///
    /// # Errors
    /// The goodbye to send instead when a limit is reached: the connection is then closed.
    pub fn connect(&mut self, now: Moment, identity: Identity, out: &mut Outputs) -> Result<PeerId, Goodbye> {
        let mut party = Party::new(None, &identity);
        if let Err(reason) = self.has_place(&identity) {
            self.counters.connections_refused += 1;
            let text = reason.to_string();
            out.push(Output::Log(Event::Refused { from: party, reason }));
            return Err(Goodbye { code: ErrorCode::BUSY, text });
        }
        self.counters.connections_accepted += 1;
        self.accounts.charge(identity.uid, Account::connection());
        let deadline = now.after(Duration::from_millis(self.limits.hello_ms));
        let id = self.peers.admit(now, identity, deadline);
        party.peer = self.peers.get(id).map(|peer| peer.number);
        out.push(Output::Log(Event::Connected(party)));
        Ok(id)
    }

    /// A peer sent a message.
    pub fn receive(&mut self, now: Moment, from: PeerId, message: Message, out: &mut Outputs) {
        if let Err(violation) = self.take(now, from, message, out) {
            self.violate(from, &violation, out);
        }
    }

    /// A peer sent the header of a frame whose body is over the limit; the body is being skipped.
    pub fn receive_too_large(&mut self, now: Moment, from: PeerId, header: Header, out: &mut Outputs) {
        if !self.peers.get(from).is_some_and(|peer| peer.stage == Stage::Ready) {
            return self.violate(from, &Violation::NoHello(header.kind), out);
        }
        let refusal = Refusal::TooLarge { len: header.body_len, limit: self.limits.body_bytes };
        match header.kind {
            Kind::CALL => match self.note_call(from, header.id) {
                Ok(()) => self.refuse(&Caller::Peer { peer: from, id: header.id }, refusal, out),
                Err(violation) => self.violate(from, &violation, out),
            },
            Kind::REPLY | Kind::ERROR => {
                let text = format!(
                    "the service's answer has {} bytes, at most {} pass",
                    header.body_len, self.limits.body_bytes
                );
                let failure = Failure { retry: Retry::Unknown, ..Failure::new(header.id, ErrorCode::TOO_LARGE, text) };
                self.answered(now, from, Err(failure), out);
            }
            other => self.violate(from, &Violation::UnexpectedKind(other), out),
        }
    }

    /// A peer sent a call of a service or a method that can't exist.
    pub fn receive_misnamed(&mut self, from: PeerId, id: u64, error: &RoutingError, out: &mut Outputs) {
        if !self.peers.get(from).is_some_and(|peer| peer.stage == Stage::Ready) {
            return self.violate(from, &Violation::NoHello(Kind::CALL), out);
        }
        match self.note_call(from, id) {
            Ok(()) => self.refuse(&Caller::Peer { peer: from, id }, Refusal::Invalid(error.to_string()), out),
            Err(violation) => self.violate(from, &violation, out),
        }
    }

    /// A datagram arrived.
    pub fn datagram(&mut self, now: Moment, datagram: Datagram, out: &mut Outputs) {
        let Datagram { sender, reply_to, message } = datagram;
        self.counters.datagrams += 1;
        let Message::Call(call) = message else { return self.datagram_malformed() };
        let caller = match reply_to {
            _ if call.one_way => Caller::OneWay,
            Some(address) => Caller::Datagram { address, id: call.id, uid: sender.uid },
            None => return self.datagram_malformed(), // nobody could be answered
        };
        if !call.caller.is_empty() {
            return self.datagram_malformed();
        }
        let origin = Origin {
            caller: caller.clone(),
            uid: sender.uid,
            verdict: self.verdict(&sender, Operation::Call(call.routing.service()), out),
            stamp: sender.stamp(None),
        };
        if let Err(refusal) = self.route(now, origin, call, out) {
            self.counters.datagrams_refused += 1;
            self.refuse(&caller, refusal, out);
        }
    }

    /// A datagram was cut short, or held no frame.
    pub fn datagram_malformed(&mut self) {
        self.counters.datagrams_malformed += 1;
    }

    /// The socket of a datagram's sender did not take the answer.
    pub fn datagram_dropped(&mut self) {
        self.counters.datagram_answers_dropped += 1;
    }

    /// The kernel took bytes that were queued for a peer.
    pub fn sent(&mut self, now: Moment, peer_id: PeerId, bytes: usize, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(peer_id) else { return };
        let soft = self.limits.unread_soft_bytes;
        let was_congested = peer.unread as u64 >= soft;
        peer.unread -= bytes;
        peer.backlog = peer.unread;
        let is_congested = peer.unread as u64 >= soft;
        self.accounts.discharge(peer.identity.uid, Account::bytes(bytes));
        if was_congested && !is_congested {
            for instance in peer.instances.clone() {
                self.feed(now, instance, out);
            }
        }
    }

    /// A frame of `bytes` bytes has begun that must be put together from several reads. Whether there is room for it; if not, ask
    /// again when [`Router::has_room`] says so.
    pub fn grant(&mut self, peer: PeerId, bytes: usize) -> bool {
        let Some(peer) = self.peers.get_mut(peer) else { return false };
        let uid = peer.identity.uid;
        if self.accounts.charge_bytes(uid, bytes, (Use::Assembly, &self.limits)).is_err() {
            return false;
        }
        peer.assembling += bytes;
        true
    }

    /// Whether a frame that found no room would find it now.
    #[must_use]
    pub fn has_room(&self, peer: PeerId, bytes: usize) -> bool {
        self.room_for(peer, bytes).is_ok()
    }

    /// A frame has found no room for as long as a frame may take. Frames that others put together and calls that wait end in time;
    /// what somebody does not read may stay for ever, so whoever holds most of that is cut.
    pub fn make_room(&mut self, peer: PeerId, bytes: usize, out: &mut Outputs) {
        let Err(full) = self.room_for(peer, bytes) else { return };
        let Some(uid) = self.peers.get(peer).map(|peer| peer.identity.uid) else { return };
        self.cut_hog(full, uid, out);
    }

    /// The frame that was granted is complete.
    pub fn release(&mut self, peer: PeerId) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        let bytes = std::mem::take(&mut peer.assembling);
        if bytes == 0 {
            return; // most frames come whole
        }
        self.accounts.discharge(peer.identity.uid, Account::bytes(bytes));
    }

    /// A peer broke the protocol: it is told so and cut.
    pub fn violate(&mut self, peer_id: PeerId, violation: &Violation, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(peer_id).filter(|peer| peer.stage != Stage::Leaving) else { return };
        peer.stage = Stage::Leaving;
        self.counters.connections_cut += 1;
        let from = Party::new(Some(peer.number), &peer.identity);
        out.push(Output::Log(Event::Cut { from, reason: violation.to_string() }));
        let goodbye = Goodbye { code: ErrorCode::PROTOCOL, text: violation.to_string() };
        out.push(Output::Cut { peer: peer_id, goodbye });
    }

    /// Uses other limits from now on. What is already stored stays; calls that waited for a limit that is higher now go out.
    pub fn set_limits(&mut self, now: Moment, limits: Limits, out: &mut Outputs) {
        self.limits = limits;
        for instance in self.names.instances().map(|(id, _)| id).collect::<Vec<_>>() {
            self.feed(now, instance, out);
        }
    }

    /// Bytes held for all peers.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.accounts.total().bytes
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the peer still waits for answers: a half-closed connection is kept for them.
    #[must_use]
    pub fn awaits_answers(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| !peer.pending.is_empty())
    }

    /// Whether the peer offers names: without a way to answer, it is as good as gone.
    #[must_use]
    pub fn is_service(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| !peer.instances.is_empty())
    }

    /// When [`Router::expire`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        [self.deadlines.next(), self.peers.next_overdue()].into_iter().flatten().min()
    }

    /// Queues a message, unless its receiver does not read and has too much already: then it is cut. When a quota is full, whoever
    /// holds most of it and does not read is cut.
    pub(super) fn send(&mut self, to: PeerId, message: Message, out: &mut Outputs) {
        let Some(peer) = self.peers.get(to).filter(|peer| peer.stage != Stage::Leaving) else { return };
        let (len, uid) = (message.frame_len(), peer.identity.uid);
        let hard = self.limits.unread_hard_bytes;
        if peer.backlog > 0 && (peer.unread + len) as u64 > hard {
            return self.violate(to, &not_reading(peer.unread + len, hard), out);
        }
        if let Err(full) = self.accounts.charge_bytes(uid, len, (Use::Unread, &self.limits)) {
            self.cut_hog(full, uid, out);
            self.accounts.charge(uid, Account::bytes(len));
        }
        let Some(peer) = self.peers.get_mut(to) else { return };
        peer.unread += len;
        out.push(Output::Send { to, message }); // nobody reads it if its receiver is the one that was cut
    }

    /// The verdict on an operation. A denial is logged.
    pub(super) fn verdict(&self, who: &Identity, what: Operation<'_>, out: &mut Outputs) -> Verdict {
        let verdict = self.policy.verdict(who, what);
        if verdict == Verdict::Denied {
            let operation = match what {
                Operation::Call(service) => format!("call {}", service.escape_ascii()),
                Operation::Own(name) => format!("own {name}"),
                Operation::Inspect => "inspect".to_owned(),
            };
            out.push(Output::Log(Event::Denied { from: Party::new(None, who), operation }));
        }
        verdict
    }

    fn room_for(&self, peer: PeerId, bytes: usize) -> Result<(), Full> {
        let Some(peer) = self.peers.get(peer) else { return Ok(()) };
        self.accounts.has_room(peer.identity.uid, bytes, (Use::Assembly, &self.limits))
    }

    fn has_place(&self, identity: &Identity) -> Result<(), NoPlace> {
        let limits = &self.limits;
        if self.draining {
            return Err(NoPlace::Draining);
        }
        let open = self.peers.len() as u64;
        let reserved = if self.policy.is_trusted(identity.uid) { 0 } else { limits.connections_reserved };
        if open + reserved >= limits.connections {
            return Err(NoPlace::Full { open, limit: limits.connections });
        }
        let open = self.accounts.of(identity.uid).connections;
        if identity.uid != 0 && open >= limits.connections_per_uid {
            return Err(NoPlace::UserFull { uid: identity.uid, open });
        }
        Ok(())
    }

    fn take(&mut self, now: Moment, from: PeerId, message: Message, out: &mut Outputs) -> Result<(), Violation> {
        let Some(peer) = self.peers.get(from) else { return Ok(()) };
        match (peer.stage, message) {
            (Stage::Leaving, _) => Ok(()),
            (Stage::Greeting, Message::Hello(hello)) => self.greet(from, hello, out),
            (Stage::Greeting, other) => Err(Violation::NoHello(other.kind())),
            (Stage::Ready, Message::Call(call)) => self.take_call(now, from, call, out),
            (Stage::Ready, Message::Reply(reply)) => {
                self.answered(now, from, Ok(reply), out);
                Ok(())
            }
            (Stage::Ready, Message::Error(failure)) => {
                self.answered(now, from, Err(of_service(failure)), out);
                Ok(())
            }
            (Stage::Ready, Message::Cancel(cancel)) => {
                self.cancel(from, cancel.id, out);
                Ok(())
            }
            (Stage::Ready, Message::Ping(id)) => {
                self.send(from, Message::Pong(id), out);
                Ok(())
            }
            (Stage::Ready, Message::Pong(_) | Message::Goodbye(_)) => Ok(()),
            (Stage::Ready, other) => Err(Violation::UnexpectedKind(other.kind())),
        }
    }

    fn greet(&mut self, from: PeerId, hello: Hello, out: &mut Outputs) -> Result<(), Violation> {
        let ours = Versions::SUPPORTED;
        let Versions { lowest, highest } = hello.versions;
        let version =
            ours.agree(hello.versions).ok_or(Violation::NoCommonVersion { ours: ours.highest, lowest, highest })?;
        let Some(peer) = self.peers.get_mut(from) else { return Ok(()) };
        peer.stage = Stage::Ready;
        peer.agent = hello.agent;
        let welcome = Welcome {
            version,
            features: hello.features.and(Features::SUPPORTED),
            peer: peer.number,
            max_body: u32::try_from(self.limits.body_bytes).unwrap_or(u32::MAX),
            call_default_ms: millis(self.limits.timeout(0)),
            call_max_ms: millis(self.limits.timeout(u32::MAX)),
            agent: self.agent.clone(),
        };
        self.send(from, Message::Welcome(welcome), out);
        Ok(())
    }

    fn take_call(&mut self, now: Moment, from: PeerId, call: Call, out: &mut Outputs) -> Result<(), Violation> {
        if !call.caller.is_empty() {
            return Err(RoutingError::Reserved(FieldTag::CALLER.0).into());
        }
        self.note_call(from, call.id)?;
        let Some(peer) = self.peers.get(from) else { return Ok(()) };
        let answer_to = Caller::Peer { peer: from, id: call.id };
        let origin = Origin {
            caller: if call.one_way { Caller::OneWay } else { answer_to.clone() },
            uid: peer.identity.uid,
            verdict: self.verdict(&peer.identity, Operation::Call(call.routing.service()), out),
            stamp: peer.stamp.clone(),
        };
        if let Err(refusal) = self.route(now, origin, call, out) {
            self.refuse(&answer_to, refusal, out); // a one-way call, too: its sender learns that nobody took it
        }
        Ok(())
    }

    fn note_call(&mut self, from: PeerId, id: u64) -> Result<(), Violation> {
        self.counters.calls += 1;
        let Some(peer) = self.peers.get_mut(from) else { return Ok(()) };
        if id <= peer.last_call {
            return Err(Violation::IdNotGrowing { found: id, last: peer.last_call });
        }
        peer.last_call = id;
        Ok(())
    }

    /// A quota is full: of those who do not read, the connection that holds most of it goes, not the one that came last. While
    /// everybody reads nobody goes: all of it leaves at the end of the turn.
    fn cut_hog(&mut self, full: Full, uid: u32, out: &mut Outputs) {
        let is_candidate = |of: u32| full == Full::Broker || of == uid;
        let candidates = self.peers.iter().filter(|(_, peer)| peer.backlog > 0 && is_candidate(peer.identity.uid));
        let weight = |peer: &Peer| (self.accounts.of(peer.identity.uid).bytes, peer.unread);
        let Some((id, hog)) = candidates.max_by_key(|(_, peer)| weight(peer)) else { return };
        let limit = match full {
            Full::User => self.limits.bytes_per_uid,
            Full::Broker => self.limits.bytes_total,
        };
        let violation = not_reading(hog.unread, limit);
        self.violate(id, &violation, out); // nothing, if it is on its way out already: its bytes are about to be free
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn not_reading(unread: usize, limit: u64) -> Violation {
    Violation::NotReading(unread, usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What a service may say of a call: errors that only the broker can know of become `internal`, and whether a retry is safe follows
/// from the code.
fn of_service(failure: Failure) -> Failure {
    let is_brokers = matches!(
        failure.code,
        ErrorCode::NO_SERVICE
            | ErrorCode::UNAVAILABLE
            | ErrorCode::ACTIVATION_FAILED
            | ErrorCode::SERVICE_GONE
            | ErrorCode::BROKER_LOST
            | ErrorCode::NAME_TAKEN
            | ErrorCode::PROTOCOL
            | ErrorCode::CONFIG
            | ErrorCode::USAGE
            | ErrorCode::NO_INPUT
    );
    if is_brokers {
        let text = format!("the service answered with {}: {}", failure.code, failure.text);
        return Failure::new(failure.id, ErrorCode::INTERNAL, text);
    }
    Failure { retry: failure.code.retry(), ..failure }
}
