//! The router: receives all inputs, and decides.

use std::time::Duration;

use ipc_protocol::{
    ErrorCode, Features, Goodbye, Hello, Identity, Versions, Violation, Welcome,
    wire::{Failure, Message, Reply},
};
use serde::{Deserialize, Serialize};

use super::{
    assembly::Assembly,
    calls::{Caller, Stage as CallStage},
    event::{Event, NoPlace, Party},
    ids::PeerId,
    input::{Begun, Input, Shed},
    limits::Limits,
    moment::Moment,
    output::{Output, Outputs},
    peers::{Peer, Stage},
    policy::{Effect, Policy},
    refusal::{Refusal, long_answer},
    switchboard::Switchboard,
    tidying::Tidying,
    turns::{FRAME, Turn, Turns},
    visits::{Admission, Visits},
};

/// All routing state.
///
/// ```text
/// connect, handle(Input)  ->  Router  ->  Outputs
/// ```
///
/// Methods take the time as `now`, and append to `out` what the caller must do, in order. `F` is the type of a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Router<F> {
    pub(super) board: Switchboard<F>,
    pub(super) assembly: Assembly,
    turns: Turns,
    visits: Visits,
    tidying: Tidying,
    pub(super) policy: Policy,
    agent: String,
}

/// The arrival of a call. Its time runs from its first byte, or from the end of what came before it, whichever is later: what is not
/// looked at yet may as well be in the socket, which doesn't tell how long it has waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) from: PeerId,
    pub(super) began: Moment,
    pub(super) now: Moment,
}

impl<F> Router<F> {
    /// A router without peers. `agent` is the broker's name and version, for people to read.
    #[must_use]
    pub fn new(limits: Limits, policy: Policy, agent: &str) -> Self {
        Self {
            board: Switchboard::new(limits),
            assembly: Assembly::default(),
            turns: Turns::default(),
            visits: Visits::default(),
            tidying: Tidying::default(),
            policy,
            agent: agent.to_owned(),
        }
    }

    /// Decides whether a connection of this user is worth looking at. Costs much less than [`Router::connect`].
    ///
    /// # Errors
    /// The goodbye to send before closing the connection. With `None` it is closed without a word.
    pub fn visit(&mut self, now: Moment, uid: u32, out: &mut impl Outputs<F>) -> Result<(), Option<Goodbye>> {
        let identity = Identity::new(uid, uid);
        if self.policy.at_all(&identity).effect == Effect::Allow {
            return Ok(());
        }
        match self.visits.admit(now, uid, &self.board.post.limits) {
            Admission::Granted => Ok(()),
            Admission::Refused => Err(Some(self.turn_away(now, &identity, NoPlace::TooOften { uid }, out))),
            Admission::Ignored => {
                self.board.post.counters.connections_ignored += 1;
                Err(None)
            }
        }
    }

    /// Adds an accepted connection.
    ///
    /// # Errors
    /// The goodbye to send before closing the connection, if a limit is reached.
    pub fn connect(&mut self, now: Moment, identity: Identity, out: &mut impl Outputs<F>) -> Result<PeerId, Goodbye> {
        if let Err(reason) = self.has_place(&identity) {
            return Err(self.turn_away(now, &identity, reason, out));
        }
        let effect = self.policy.at_all(&identity).effect;
        Ok(self.board.post.admit(now, identity, effect, out))
    }

    /// Handles an input.
    #[inline(always)] // of all that can happen, each caller passes one thing
    pub fn handle(&mut self, now: Moment, input: Input<'_, F>, out: &mut impl Outputs<F>) {
        match input {
            Input::Message { from, message } => self.receive(now, from, message, out),
            Input::Written { to, cost } => self.written(now, to, cost, out),
            Input::Begun { from, frame } => self.begin(now, from, frame, out),
            Input::Misnamed { from, id, error } => self.misnamed(from, id, &error, out),
            Input::Malformed { from, id, code, text } => self.malformed(from, id, (code, text), out),
            Input::Kept { by, bytes } => self.board.post.keep(by, bytes, out),
            Input::Skipped { from } => drop(self.assembly.end(&mut self.board.post, from)),
            Input::Shed { to, shed } => self.shed(now, to, shed, out),
            Input::Partial { from, held } => self.assembly.partial(&mut self.board.post, now, from, held),
            Input::Violation { from, violation } => self.board.post.violate(from, &violation, out),
            Input::Sunk { to, bytes, is_stuck } => self.board.post.sunk(to, bytes, is_stuck, out),
            Input::Ended { from } => self.end_reading(from, out),
            Input::Deaf { from } => self.stop_reading(from, out),
            Input::Closed { peer } => {
                self.disconnect(peer, out);
                self.tidying.note(now, self.board.is_roomy());
            }
            Input::Datagram(datagram) => self.datagram(now, datagram, out),
            Input::DatagramMalformed => self.board.post.counters.datagrams_malformed += 1,
            Input::DatagramUnanswered => self.board.post.counters.datagram_answers_dropped += 1,
            Input::Deadline => self.expire(now, out),
            Input::Limits(limits) => self.set_limits(now, *limits, out),
            Input::Drain => self.drain(out),
            Input::Stop => self.stop(out),
        }
        if !self.assembly.is_idle() && self.board.post.accounts.take_freed() {
            self.assembly.retry(&mut self.board.post, now, out);
        }
        if self.board.alarms.is_raised() {
            self.tell_alarm(now, out);
        }
    }

    /// Notes that a peer has sent something that is not routed yet.
    #[inline]
    pub fn ready(&mut self, id: PeerId) {
        self.turns.join(&mut self.board.post.peers, id);
    }

    /// Begins a turn, with a new budget for its work.
    pub fn begin_turn(&mut self, now: Moment) {
        self.turns.begin(now, &self.board.post.limits);
    }

    /// Whose turn it is among the peers that are ready. `None` ends this turn: what is done is to be written before the next one.
    #[inline]
    pub fn next_turn(&mut self) -> Option<Turn> {
        self.board.post.work = 0;
        self.turns.next(&mut self.board.post.peers, &self.board.post.limits)
    }

    /// Notes what a read has brought in a peer's turn, which may be nothing.
    #[inline]
    pub fn note_read(&mut self, bytes: usize) {
        self.board.post.work += FRAME + bytes as u64;
    }

    /// Whether a peer has caused as much work in its turn as it may at a time. Ask after each message.
    #[inline]
    #[must_use]
    pub fn is_over(&self, turn: &Turn) -> bool {
        self.board.post.work >= turn.budget
    }

    /// Ends a peer's turn. If it has sent more, it is [ready](Router::ready) again.
    #[inline]
    pub fn end_turn(&mut self, turn: Turn) {
        self.turns.end(&mut self.board.post.peers, turn, self.board.post.work);
    }

    /// When the next turn should begin because of peers that wait for it: in the past, if at once.
    #[inline]
    #[must_use]
    pub fn next_turn_at(&self) -> Option<Moment> {
        self.turns.next_at(&self.board.post.peers)
    }

    /// Whether the peer is of a user who may do nothing.
    #[must_use]
    pub fn is_stranger(&self, id: PeerId) -> bool {
        self.board.post.peers.get(id).is_none_or(|peer| peer.effect == Effect::Deny)
    }

    /// When to pass [`Input::Deadline`] next.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let ends = Moment::first(self.board.calls.next_deadline(), self.board.post.peers.next_overdue());
        Moment::first(ends, self.tidying.due())
    }

    /// Whether the next message of a peer may be passed to the router. Ask before each one. If not, let it wait, as an [`Input::Partial`],
    /// and read nothing more from the peer, until this has changed: it may after each [`Input::Written`].
    #[must_use]
    #[inline]
    pub fn may_send(&self, from: PeerId) -> bool {
        self.board.post.may_send(from)
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.board.post.limits
    }

    /// Bytes held for all peers.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.board.post.accounts.total().bytes
    }

    /// Whether every call has ended for its caller, and every peer has read its messages. Answers that no caller waits for do not
    /// count.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.board.calls.iter().all(|(_, slot)| slot.caller == Caller::Gone)
            && self.board.post.peers.iter().all(|(_, peer)| peer.unread == 0)
    }

    fn turn_away(&mut self, now: Moment, identity: &Identity, reason: NoPlace, out: &mut impl Outputs<F>) -> Goodbye {
        if let Some(limit) = reason.limit().filter(|_| self.board.subscriptions.has_own()) {
            self.board.alarms.raise(limit, Some(identity.uid));
            self.tell_alarm(now, out);
        }
        let text = reason.to_string();
        self.board.post.counters.connections_refused += 1;
        out.push(Output::Log(Event::Refused { from: Party::new(None, identity), reason }));
        Goodbye { code: ErrorCode::BUSY, text }
    }

    #[cold]
    fn tell_alarm(&mut self, now: Moment, out: &mut impl Outputs<F>) {
        if let Some(alarm) = self.board.alarms.take(now) {
            self.board.announce("ipc.limit.reached", || alarm, out);
        }
    }

    fn has_place(&self, identity: &Identity) -> Result<(), NoPlace> {
        let (limits, peers) = (&self.board.post.limits, &self.board.post.peers);
        if self.board.draining {
            return Err(NoPlace::Draining);
        }
        let (open, limit, uid) = (peers.len() as u64, limits.connections, identity.uid);
        let reserved = if self.policy.is_trusted(uid) { 0 } else { limits.connections_reserved };
        if open + reserved >= limit {
            return Err(NoPlace::Full { open, limit });
        }
        let open = self.board.post.accounts.of(uid).connections;
        if uid != 0 && open >= limits.connections_per_uid {
            return Err(NoPlace::UserFull { uid, open });
        }
        Ok(())
    }

    // ---- what peers send

    fn receive(&mut self, now: Moment, from: PeerId, message: &mut Message<F>, out: &mut impl Outputs<F>) {
        self.board.post.work += FRAME;
        let Some(peer) = self.board.post.peers.get(from) else { return };
        let stage = peer.stage;
        let began = if peer.frame.is_some() { self.assembly.end(&mut self.board.post, from) } else { None };
        let taken = match stage {
            Stage::Ready => self.take(Arrival { from, began: began.unwrap_or(now), now }, message, out),
            Stage::Greeting => match message {
                Message::Hello(hello) => self.greet(from, hello, out),
                other => Err(Violation::NoHello(other.kind())),
            },
            Stage::Ended => {
                // It goes on reading: its dialect takes items in its place.
                if let Message::Credit(credit) = message {
                    self.board.credit(now, from, *credit, out);
                }
                Ok(())
            }
            Stage::Leaving => Ok(()),
        };
        if let Err(violation) = taken {
            self.board.post.violate(from, &violation, out);
        }
    }

    /// A message of a peer that has said hello.
    #[inline]
    fn take(&mut self, arrival: Arrival, message: &mut Message<F>, out: &mut impl Outputs<F>) -> Result<(), Violation> {
        let Arrival { from, now, .. } = arrival;
        match message {
            Message::Call(call) => return self.take_call(arrival, call, out),
            Message::Reply(reply) => match reply.body.len() as u64 > self.board.post.limits.body_bytes {
                true => self.take_long_reply(now, from, reply, out),
                false => self.board.answered(now, from, Ok(reply), out),
            },
            Message::Error(failure) => self.take_error(now, from, failure, out),
            Message::Item(item) => self.board.item(now, from, item, out),
            Message::End(end) => self.board.end_request(now, from, end, out),
            Message::Credit(credit) => self.board.credit(now, from, *credit, out),
            Message::Event(event) => return self.take_event(arrival, event, out),
            Message::Cancel(cancel) => self.board.cancel(from, cancel.id, out),
            Message::Ping(id) => self.board.post.send(from, Message::Pong(*id), out),
            Message::Pong(_) | Message::Goodbye(_) => {}
            other => return Err(Violation::UnexpectedKind(other.kind())),
        }
        Ok(())
    }

    #[cold]
    fn take_long_reply(&mut self, now: Moment, from: PeerId, reply: &Reply<F>, out: &mut impl Outputs<F>) {
        let limit = self.board.post.limits.body_bytes;
        self.board.answered(now, from, Err(long_answer(reply.id, reply.body.len() as u64, limit)), out);
    }

    #[inline(never)]
    fn take_error(&mut self, now: Moment, from: PeerId, failure: &mut Failure<F>, out: &mut impl Outputs<F>) {
        self.board.answered(now, from, Err(of_service(failure.take())), out);
    }

    #[cold]
    fn greet(&mut self, from: PeerId, hello: &mut Hello, out: &mut impl Outputs<F>) -> Result<(), Violation> {
        let ours = Versions::SUPPORTED;
        let Versions { lowest, highest } = hello.versions;
        let version =
            ours.agree(hello.versions).ok_or(Violation::NoCommonVersion { ours: ours.highest, lowest, highest })?;
        self.board.post.peers.disarm(from);
        let Some(peer) = self.board.post.peers.get_mut(from) else { return Ok(()) };
        (peer.stage, peer.has_greeted) = (Stage::Ready, true);
        peer.agent = std::mem::take(&mut hello.agent);
        let limits = &self.board.post.limits;
        let welcome = Welcome {
            version,
            features: hello.features.and(Features::SUPPORTED),
            peer: peer.number,
            max_body: u32::try_from(limits.body_bytes).unwrap_or(u32::MAX),
            call_default_ms: millis(limits.timeout(0)),
            call_max_ms: millis(limits.timeout(u32::MAX)),
            agent: self.agent.clone(),
        };
        let connected = peer.event();
        self.board.post.send(from, Message::Welcome(welcome), out);
        self.board.announce("ipc.peer.connected", || connected, out);
        Ok(())
    }

    // ---- sockets and time

    #[inline]
    fn written(&mut self, now: Moment, to: PeerId, cost: usize, out: &mut impl Outputs<F>) {
        if self.board.post.written(to, cost) {
            self.feed_peer(now, to, out);
        }
        if self.board.subscriptions.are_catching_up() {
            self.board.catch_up_peer(to, out);
        }
        self.close_if_done(to, out);
    }

    /// Events for a peer that is behind were dropped, which may have made room for calls.
    #[cold]
    fn shed(&mut self, now: Moment, to: PeerId, shed: Shed, out: &mut impl Outputs<F>) {
        self.board.post.counters.events_lost += shed.events;
        if self.board.post.shed(to, shed.cost) {
            self.feed_peer(now, to, out);
        }
        if shed.cut {
            self.board.post.violate(to, &Violation::NotKeepingUp, out);
        }
    }

    /// Delivers the calls that wait for a peer, which has room again for what it is sent.
    #[inline(never)]
    fn feed_peer(&mut self, now: Moment, id: PeerId, out: &mut impl Outputs<F>) {
        let instances = self.board.post.peers.get(id).map(|peer| peer.instances.clone()).unwrap_or_default();
        for instance in instances {
            self.board.names.reads_again(instance);
            self.board.feed(now, instance, out);
        }
    }

    /// A peer has finished sending. A service can't answer any more, and so is gone. A caller may still wait for answers.
    #[inline(never)]
    fn end_reading(&mut self, from: PeerId, out: &mut impl Outputs<F>) {
        self.assembly.end(&mut self.board.post, from);
        let Some(peer) = self.board.post.peers.get_mut(from) else { return };
        if peer.stage != Stage::Leaving {
            let is_service = !peer.instances.is_empty() || peer.stage == Stage::Greeting;
            peer.stage = if is_service { Stage::Leaving } else { Stage::Ended };
            if is_service {
                return out.push(Output::Close { peer: from });
            }
        }
        self.close_if_done(from, out);
    }

    /// A peer reads nothing any more. A service can't receive calls, and so is gone. A caller may go on sending.
    #[cold]
    fn stop_reading(&mut self, from: PeerId, out: &mut impl Outputs<F>) {
        let Some(peer) = self.board.post.peers.get_mut(from) else { return };
        if peer.stage != Stage::Leaving && !peer.instances.is_empty() {
            peer.stage = Stage::Leaving;
            out.push(Output::Close { peer: from });
        }
    }

    /// Closes a connection that has finished sending, once it has read everything that it waited for.
    fn close_if_done(&mut self, id: PeerId, out: &mut impl Outputs<F>) {
        let ended = self.board.post.peers.get_mut(id).filter(|peer| peer.stage == Stage::Ended);
        let Some(peer) = ended else { return };
        if peer.unread == 0 && peer.pending.is_empty() && peer.subscriptions.is_empty() {
            peer.stage = Stage::Leaving;
            out.push(Output::Close { peer: id });
        }
    }

    /// A connection is closed. Its names are free before the callers of its services are told, so that a retry finds a successor.
    #[inline(never)]
    fn disconnect(&mut self, id: PeerId, out: &mut impl Outputs<F>) {
        self.assembly.end(&mut self.board.post, id);
        let Some(peer) = self.board.post.peers.get_mut(id) else { return };
        peer.stage = Stage::Leaving; // nothing is sent to it from here on
        let instances = std::mem::take(&mut peer.instances);
        for subscription in std::mem::take(&mut peer.subscriptions) {
            self.board.end_subscription(subscription);
        }
        instances.iter().for_each(|instance| self.board.take_back(*instance, out));
        instances.into_iter().for_each(|instance| self.board.end_running(instance, out));
        while let Some(call) = self.board.post.peers.get(id).and_then(|peer| peer.pending.first()) {
            self.board.abandon(call, ErrorCode::CANCELLED, out);
        }
        self.board.release_all(id, out);
        let gone = self.board.post.peers.get(id).filter(|peer| peer.has_greeted).map(Peer::event);
        self.board.post.dismiss(id, out);
        if let Some(gone) = gone {
            self.board.announce("ipc.peer.gone", || gone, out);
        }
    }

    /// Ends what is out of time, up to a slice, so that a million deadlines in one millisecond delay nothing else. If more is left,
    /// [`Router::next_deadline`] is in the past.
    #[inline(never)]
    fn expire(&mut self, now: Moment, out: &mut impl Outputs<F>) {
        for call in self.board.calls.expired(now, SLICE) {
            if self.board.calls.put_off(call, now) {
                continue; // its streams are in use
            }
            if let Some((caller, progress)) = self.board.abandon(call, ErrorCode::DEADLINE, out) {
                self.board.refuse(&caller, Refusal::Deadline(progress), out);
            }
        }
        for peer in self.board.post.peers.overdue(now, SLICE) {
            self.overdue(now, peer, out);
        }
        if self.tidying.is_due(now) {
            self.board.give_back();
            out.push(Output::GiveBack);
            self.tidying.done(now, self.board.is_roomy());
        }
    }

    /// Applies new limits. Calls that waited for a limit that is now higher are delivered, and waiting frames over a lower one are
    /// refused.
    #[cold]
    fn set_limits(&mut self, now: Moment, limits: Limits, out: &mut impl Outputs<F>) {
        self.board.post.set_limits(limits);
        for instance in self.board.names.instances().map(|(id, _)| id).collect::<Vec<_>>() {
            self.board.names.reads_again(instance);
            self.board.feed(now, instance, out);
        }
        for (_, peer) in self.assembly.waiting().collect::<Vec<_>>() {
            let frame = self.board.post.peers.get(peer).and_then(|peer| peer.frame.as_ref()?.waiting);
            let is_over = |frame: &Begun| u64::from(frame.body_len) > self.board.post.limits.body_bytes;
            if let Some(frame) = frame.filter(is_over) {
                self.give_up(now, peer, out);
                self.refuse_long(now, peer, frame, out);
            }
        }
        self.assembly.retry(&mut self.board.post, now, out);
    }

    /// Begins to stop: new calls are refused and waits for names and locks end, but running calls may finish.
    #[cold]
    fn drain(&mut self, out: &mut impl Outputs<F>) {
        self.board.draining = true;
        self.board.forget_kept(); // no peer can ask for them any more
        let is_for_us = |stage: &CallStage<F>| matches!(stage, CallStage::Watching(_) | CallStage::Locking(_));
        let waiting = self.board.calls.iter().filter(|(_, slot)| is_for_us(&slot.stage));
        for call in waiting.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, _)) = self.board.abandon(call, ErrorCode::CANCELLED, out) {
                self.board.refuse(&caller, Refusal::Draining, out);
            }
        }
    }

    /// Stops for good: each pending call ends with `broker_lost`, and each peer receives goodbye.
    #[cold]
    fn stop(&mut self, out: &mut impl Outputs<F>) {
        self.board.forget_kept();
        for call in self.board.calls.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, progress)) = self.board.abandon(call, ErrorCode::CANCELLED, out) {
                self.board.refuse(&caller, Refusal::BrokerLost(progress), out);
            }
        }
        let goodbye = Goodbye { code: ErrorCode::UNAVAILABLE, text: "the broker shuts down".to_owned() };
        for peer in self.board.post.peers.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(peer) = self.board.post.peers.get_mut(peer) {
                peer.stage = Stage::Leaving;
            }
            out.push(Output::Cut { peer, goodbye: goodbye.clone() });
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The error of a service as its caller receives it: codes reserved for the broker become `internal`, and whether a retry is safe
/// follows from the code.
fn of_service<F>(failure: Failure<F>) -> Failure<F> {
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
    Failure { retry: failure.code.retry(), delivered: None, ..failure }
}

/// The number of deadlines handled at once.
const SLICE: usize = 1024;
