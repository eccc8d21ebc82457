//! The router: takes everything that happens, and decides.

use std::time::Duration;

use ipc_protocol::{
    ErrorCode, Features, FieldTag, Goodbye, Hello, Identity, Kind, Retry, RoutingError, Versions, Violation, Welcome,
    control::{
        self,
        operation::{self, Operation as _},
    },
    wire::{Call, Failure, Message},
};
use serde::{Deserialize, Serialize};

use super::{
    answer,
    assembly::Assembly,
    calls::{Caller, Stage as CallStage},
    control::needs_connection,
    datagrams::Datagram,
    event::{Event, NoPlace, Party},
    ids::PeerId,
    input::{Begun, Input},
    limits::{Limits, Use},
    moment::Moment,
    names::Place,
    output::{Output, Outputs},
    peers::{Route, Stage},
    policy::{Effect, Operation, Policy, Request, Rule},
    refusal::{Progress, Refusal},
    routing::{self, Destination},
    switchboard::{Origin, Switchboard},
};

/// All routing state.
///
/// ```text
/// connect, handle(Input)  ->  Router  ->  Outputs
/// ```
///
/// Methods take the time as `now` and append to `out` what the caller must do, in order. `F` is the type of a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Router<F> {
    board: Switchboard<F>,
    assembly: Assembly,
    policy: Policy,
    agent: String,
}

impl<F> Router<F> {
    /// A router without peers. `agent` is the broker's name and version, for people.
    #[must_use]
    pub fn new(limits: Limits, policy: Policy, agent: &str) -> Self {
        Self { board: Switchboard::new(limits), assembly: Assembly::default(), policy, agent: agent.to_owned() }
    }

    /// A connection was accepted.
    ///
    /// # Errors
    /// The goodbye to send instead when a limit is reached: the connection is then closed.
    pub fn connect(&mut self, now: Moment, identity: Identity, out: &mut Outputs<F>) -> Result<PeerId, Goodbye> {
        if let Err(reason) = self.has_place(&identity) {
            let text = reason.to_string();
            self.board.post.counters.connections_refused += 1;
            out.push(Output::Log(Event::Refused { from: Party::new(None, &identity), reason }));
            return Err(Goodbye { code: ErrorCode::BUSY, text });
        }
        Ok(self.board.post.admit(now, identity, out))
    }

    /// Something happened.
    #[inline]
    pub fn handle(&mut self, now: Moment, input: Input<'_, F>, out: &mut Outputs<F>) {
        match input {
            Input::Message { from, message } => self.receive(now, from, message, out),
            Input::Written { to, cost } => self.written(now, to, cost, out),
            Input::Begun { from, frame, held } => self.begin(now, from, frame, held, out),
            Input::Misnamed { from, id, error } => self.misnamed(from, id, &error, out),
            Input::Skipped { from } => drop(self.assembly.end(&mut self.board.post, from)),
            Input::Partial { from, held } => self.assembly.partial(&mut self.board.post, now, from, held),
            Input::Violation { from, violation } => self.board.post.violate(from, &violation, out),
            Input::Ended { from } => self.end_reading(from, out),
            Input::Closed { peer } => self.disconnect(peer, out),
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
    }

    /// When [`Input::Deadline`] must come next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let (call, peer) = (self.board.calls.next_deadline(), self.board.post.peers.next_overdue());
        [call, peer].into_iter().flatten().min()
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

    /// Whether every call has ended for its caller, and every peer has read how. Answers that are still owed and that are not waited
    /// for do not count.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.board.calls.iter().all(|(_, slot)| slot.caller == Caller::Gone)
            && self.board.post.peers.iter().all(|(_, peer)| peer.unread == 0)
    }

    pub(super) fn board(&self) -> &Switchboard<F> {
        &self.board
    }

    pub(super) fn assembly(&self) -> &Assembly {
        &self.assembly
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

    fn receive(&mut self, now: Moment, from: PeerId, message: &mut Message<F>, out: &mut Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(from) else { return };
        let stage = peer.stage;
        let began = if peer.frame.is_some() { self.assembly.end(&mut self.board.post, from) } else { None };
        let taken = match (stage, message) {
            (Stage::Ready, Message::Call(call)) => self.take_call(now, began, from, call, out),
            (Stage::Ready, Message::Reply(reply)) => {
                let (limit, len) = (self.board.post.limits.body_bytes, reply.body.len() as u64);
                match len > limit {
                    true => self.board.answered(now, from, Err(long_answer(reply.id, len, limit)), out),
                    false => self.board.answered(now, from, Ok(reply), out),
                }
                Ok(())
            }
            (Stage::Ready, Message::Error(failure)) => {
                self.board.answered(now, from, Err(of_service(failure.take())), out);
                Ok(())
            }
            (Stage::Ready, Message::Cancel(cancel)) => {
                self.board.cancel(from, cancel.id, out);
                Ok(())
            }
            (Stage::Ready, Message::Ping(id)) => {
                self.board.post.send(from, Message::Pong(*id), out);
                Ok(())
            }
            (Stage::Ready, Message::Pong(_) | Message::Goodbye(_)) | (Stage::Leaving | Stage::Ended, _) => Ok(()),
            (Stage::Greeting, Message::Hello(hello)) => self.greet(from, hello, out),
            (Stage::Greeting, other) => Err(Violation::NoHello(other.kind())),
            (Stage::Ready, other) => Err(Violation::UnexpectedKind(other.kind())),
        };
        if let Err(violation) = taken {
            self.board.post.violate(from, &violation, out);
        }
    }

    fn greet(&mut self, from: PeerId, hello: &mut Hello, out: &mut Outputs<F>) -> Result<(), Violation> {
        let ours = Versions::SUPPORTED;
        let Versions { lowest, highest } = hello.versions;
        let version =
            ours.agree(hello.versions).ok_or(Violation::NoCommonVersion { ours: ours.highest, lowest, highest })?;
        self.board.post.peers.disarm(from);
        let Some(peer) = self.board.post.peers.get_mut(from) else { return Ok(()) };
        peer.stage = Stage::Ready;
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
        self.board.post.send(from, Message::Welcome(welcome), out);
        Ok(())
    }

    /// A call of a peer. Its time runs from its first byte: `began`, if that was not now.
    fn take_call(
        &mut self,
        now: Moment,
        began: Option<Moment>,
        from: PeerId,
        call: &mut Call<F>,
        out: &mut Outputs<F>,
    ) -> Result<(), Violation> {
        if !call.caller.is_empty() {
            return Err(RoutingError::Reserved(FieldTag::CALLER.0).into());
        }
        self.note_call(from, call.id)?;
        let Some((payer, _)) = self.board.post.payer(from) else { return Ok(()) };
        let answer_to = Caller::Peer { peer: from, id: call.id };
        let deadline = began.unwrap_or(now).after(self.board.post.limits.timeout(call.timeout_ms));
        let caller = if call.one_way { Caller::OneWay } else { answer_to.clone() };
        let origin = Origin { caller, payer, peer: Some(from), deadline };
        if let Err(refusal) = self.take_request(now, from, origin, call, out) {
            self.board.refuse(&answer_to, refusal, out); // a one-way call, too: its sender learns that it did not arrive
        }
        Ok(())
    }

    /// A call of a name that cannot exist. One who may do nothing is denied all the same.
    fn misnamed(&mut self, from: PeerId, id: u64, error: &RoutingError, out: &mut Outputs<F>) {
        self.assembly.end(&mut self.board.post, from);
        let Some(peer) = self.board.post.peers.get(from) else { return };
        match peer.stage {
            Stage::Greeting => return self.board.post.violate(from, &Violation::NoHello(Kind::CALL), out),
            Stage::Leaving | Stage::Ended => return,
            Stage::Ready => {}
        }
        let identity = peer.identity.clone();
        if let Err(violation) = self.note_call(from, id) {
            return self.board.post.violate(from, &violation, out);
        }
        let refusal = match self.admit(&identity, Some(from), b"", b"", out) {
            Ok(()) => Refusal::Invalid(error.to_string()),
            Err(denied) => denied,
        };
        self.board.refuse(&Caller::Peer { peer: from, id }, refusal, out);
    }

    /// The way of most calls: to where the last one of the same peer went. The policy agreed to that one.
    fn take_request(
        &mut self,
        now: Moment,
        from: PeerId,
        origin: Origin,
        call: &mut Call<F>,
        out: &mut Outputs<F>,
    ) -> Result<(), Refusal> {
        let Some(peer) = self.board.post.peers.get(from) else { return Ok(()) };
        let known = peer
            .route
            .as_ref()
            .filter(|route| route.epoch == self.board.names.epoch() && route.section == *call.routing.raw());
        let Some(route) = known else {
            let identity = peer.identity.clone();
            return self.route(now, &identity, origin, call, out);
        };
        let name = route.name;
        if let Some(split) = &route.split {
            call.routing = split.clone();
        }
        call.caller = peer.stamp.clone();
        self.check_call(now, &origin, call)?;
        self.board.place(now, origin, call, Place::Name(name), out)
    }

    /// Resolves a call, asks the policy, and hands it on. One who may do nothing is denied before anything else.
    fn route(
        &mut self,
        now: Moment,
        identity: &Identity,
        origin: Origin,
        call: &mut Call<F>,
        out: &mut Outputs<F>,
    ) -> Result<(), Refusal> {
        let section = call.routing.raw().clone();
        self.admit(identity, origin.peer, call.routing.service(), call.routing.method(), out)?;
        let found = routing::resolve(&self.board.names, &self.board.post.peers, &mut call.routing);
        let service = routing::service_of(&self.board.names, &call.routing, found.as_ref().copied()).to_vec();
        let request = Request {
            identity,
            operation: Operation::Call,
            service: &service,
            method: call.routing.method(),
            topic: b"",
        };
        self.authorise(&request, origin.peer, out)?;
        let destination = found?;
        self.check_call(now, &origin, call)?;
        match destination {
            Destination::Broker => self.control(now, identity, origin, call, out),
            Destination::Place(place) => {
                if let (Some(from), Place::Name(name)) = (origin.peer, place) {
                    self.remember(from, &section, call, name);
                }
                call.caller = match origin.peer.and_then(|id| self.board.post.peers.get(id)) {
                    Some(peer) => peer.stamp.clone(),
                    None => identity.stamp(None),
                };
                self.board.place(now, origin, call, place, out)
            }
        }
    }

    /// What concerns a call wherever it goes.
    fn check_call(&self, now: Moment, origin: &Origin, call: &Call<F>) -> Result<(), Refusal> {
        let limit = self.board.post.limits.body_bytes;
        if call.body.len() as u64 > limit {
            return Err(Refusal::TooLarge { len: call.body.len() as u64, limit });
        }
        if origin.deadline <= now {
            return Err(Refusal::Deadline(Progress::NotDelivered));
        }
        if self.board.draining && call.routing.service() != control::SERVICE.as_bytes() {
            return Err(Refusal::Draining);
        }
        Ok(())
    }

    /// The next call of this peer with the same section goes the same way, until a name comes or goes.
    fn remember(&mut self, from: PeerId, section: &bytes::Bytes, call: &Call<F>, name: super::ids::NameId) {
        let epoch = self.board.names.epoch();
        let Some(peer) = self.board.post.peers.get_mut(from).filter(|_| section.len() <= REMEMBERED) else { return };
        let was_split = call.routing.raw() != section;
        let split = was_split.then(|| call.routing.detached());
        peer.route = Some(Route { section: bytes::Bytes::copy_from_slice(section), split, name, epoch });
    }

    /// The broker's own service.
    fn control(
        &mut self,
        now: Moment,
        identity: &Identity,
        origin: Origin,
        call: &Call<F>,
        out: &mut Outputs<F>,
    ) -> Result<(), Refusal> {
        if call.routing.method() != operation::Register::NAME.as_bytes() {
            return self.board.control(now, origin, call, out);
        }
        let request: control::Register = answer::parse(call)?;
        let Caller::Peer { peer, id } = origin.caller else { return Err(needs_connection()) };
        if let Some(name) = &request.name {
            let service = name.as_str().as_bytes();
            let own = Request { identity, operation: Operation::Own, service, method: b"", topic: b"" };
            self.authorise(&own, Some(peer), out)?;
        }
        self.board.register(now, peer, id, request, out)
    }

    // ---- the policy

    /// Denies everything to one who may do nothing.
    fn admit(
        &mut self,
        identity: &Identity,
        peer: Option<PeerId>,
        service: &[u8],
        method: &[u8],
        out: &mut Outputs<F>,
    ) -> Result<(), Refusal> {
        let verdict = self.policy.at_all(identity);
        if verdict.effect == Effect::Allow {
            return Ok(());
        }
        let request = Request { identity, operation: Operation::Call, service, method, topic: b"" };
        Err(self.deny(&request, verdict.by, peer, out))
    }

    /// The one place where an operation is authorised, after what it is about was resolved.
    fn authorise(&mut self, request: &Request<'_>, peer: Option<PeerId>, out: &mut Outputs<F>) -> Result<(), Refusal> {
        let verdict = self.policy.verdict(request);
        match verdict.effect {
            Effect::Allow => Ok(()),
            Effect::Deny => Err(self.deny(request, verdict.by, peer, out)),
        }
    }

    /// A denial is logged once for each connection.
    fn deny(&mut self, request: &Request<'_>, by: Rule, peer: Option<PeerId>, out: &mut Outputs<F>) -> Refusal {
        let mut peer = peer.and_then(|id| self.board.post.peers.get_mut(id));
        let was_told = peer.as_mut().is_some_and(|peer| std::mem::replace(&mut peer.denied, true));
        if !was_told {
            out.push(Output::Log(Event::denied(request, by, peer.map(|peer| peer.number))));
        }
        Refusal::Denied { uid: request.identity.uid }
    }

    // ---- frames that take their time

    fn begin(&mut self, now: Moment, from: PeerId, frame: Begun, held: usize, out: &mut Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(from) else { return };
        match peer.stage {
            Stage::Greeting => return self.board.post.violate(from, &Violation::NoHello(frame.kind), out),
            Stage::Leaving | Stage::Ended => return,
            Stage::Ready => self.assembly.partial(&mut self.board.post, now, from, held),
        }
        if u64::from(frame.body_len) > self.board.post.limits.body_bytes {
            self.skip(from, frame, out);
            return self.refuse_long(now, from, frame, out);
        }
        self.assembly.begin(&mut self.board.post, now, from, frame, out);
    }

    /// The frame is not taken; the rest of it is still to come, and is on the clock.
    fn skip(&mut self, from: PeerId, frame: Begun, out: &mut Outputs<F>) {
        if frame.kind == Kind::CALL
            && let Err(violation) = self.note_call(from, frame.id)
        {
            return self.board.post.violate(from, &violation, out);
        }
        out.push(Output::Skip { peer: from });
    }

    /// A body over the limit, which is being skipped.
    fn refuse_long(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut Outputs<F>) {
        let (len, limit) = (u64::from(frame.body_len), self.board.post.limits.body_bytes);
        match frame.kind {
            Kind::CALL => {
                let caller = Caller::Peer { peer: from, id: frame.id };
                self.board.refuse(&caller, Refusal::TooLarge { len, limit }, out);
            }
            Kind::REPLY | Kind::ERROR => {
                self.board.answered(now, from, Err(long_answer(frame.id, len, limit)), out);
            }
            other => self.board.post.violate(from, &Violation::UnexpectedKind(other), out),
        }
    }

    /// A peer's time is up: it owes a hello or the rest of a frame, or its frame has waited for room.
    fn overdue(&mut self, now: Moment, id: PeerId, out: &mut Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(id) else { return };
        let limits = &self.board.post.limits;
        if peer.stage == Stage::Greeting {
            let violation = Violation::TooSlow("hello", limits.hello_ms / 1000);
            return self.board.post.violate(id, &violation, out);
        }
        let Some(frame) = &peer.frame else { return };
        let Some(waiting) = frame.waiting else {
            let violation = Violation::TooSlow("the rest of a frame", limits.frame_ms / 1000);
            return self.board.post.violate(id, &violation, out);
        };
        let ends = frame.since.after(limits.timeout(waiting.timeout_ms));
        if waiting.kind == Kind::CALL && ends <= now {
            self.give_up(now, id, out);
            let caller = Caller::Peer { peer: id, id: waiting.id };
            return self.board.refuse(&caller, Refusal::Deadline(Progress::NotDelivered), out);
        }
        // Frames that others put together and calls that wait end in time. What is not read may stay for ever, so the peer that
        // holds most of it is cut.
        let (account, more) = (peer.account, waiting.len.saturating_sub(frame.held));
        if let Err(full) = self.board.post.accounts.has_room(account, more, Use::Assembly, limits) {
            self.board.post.cut_hog(full, account, out);
        }
        self.assembly.watch(&mut self.board.post, now, id);
    }

    /// A frame that waits for room is skipped instead.
    fn give_up(&mut self, now: Moment, id: PeerId, out: &mut Outputs<F>) {
        if let Some(frame) = self.assembly.give_up(&mut self.board.post, id) {
            self.skip(id, frame, out);
            let due = now.after_ms(self.board.post.limits.frame_ms);
            self.board.post.peers.arm(id, due);
        }
    }

    // ---- datagrams

    fn datagram(&mut self, now: Moment, datagram: Datagram<F>, out: &mut Outputs<F>) {
        let Datagram { sender, reply_to, message } = datagram;
        let counters = &mut self.board.post.counters;
        counters.datagrams += 1;
        let Message::Call(mut call) = message else {
            counters.datagrams_malformed += 1;
            return;
        };
        let caller = match reply_to {
            _ if !call.caller.is_empty() => None,
            _ if call.one_way => Some(Caller::OneWay),
            Some(address) => Some(Caller::Datagram(Box::new((address, call.id)))),
            None => None, // there is nowhere to send the answer
        };
        let Some(caller) = caller else {
            counters.datagrams_malformed += 1;
            return;
        };
        let payer = self.board.post.accounts.open(sender.uid);
        let deadline = now.after(self.board.post.limits.timeout(call.timeout_ms));
        let origin = Origin { caller: caller.clone(), payer, peer: None, deadline };
        if let Err(refusal) = self.route(now, &sender, origin, &mut call, out) {
            self.board.post.counters.datagrams_refused += 1;
            self.board.refuse(&caller, refusal, out);
        }
        self.board.post.accounts.close_if_empty(payer);
    }

    // ---- sockets and time

    fn written(&mut self, now: Moment, to: PeerId, cost: usize, out: &mut Outputs<F>) {
        if self.board.post.written(to, cost) {
            let instances = self.board.post.peers.get(to).map(|peer| peer.instances.clone()).unwrap_or_default();
            instances.into_iter().for_each(|instance| self.board.feed(now, instance, out));
        }
        self.close_if_done(to, out);
    }

    /// A service without a way to answer is as good as gone; a caller may still wait for its answers.
    fn end_reading(&mut self, from: PeerId, out: &mut Outputs<F>) {
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

    /// Closes a connection that has finished sending, once it has read everything that it waited for.
    fn close_if_done(&mut self, id: PeerId, out: &mut Outputs<F>) {
        let Some(peer) = self.board.post.peers.get_mut(id) else { return };
        if peer.stage == Stage::Ended && peer.unread == 0 && peer.pending.is_empty() {
            peer.stage = Stage::Leaving;
            out.push(Output::Close { peer: id });
        }
    }

    /// A connection is closed. Its names are free before its callers are told, so that a retry finds the successor.
    fn disconnect(&mut self, id: PeerId, out: &mut Outputs<F>) {
        self.assembly.end(&mut self.board.post, id);
        let Some(peer) = self.board.post.peers.get_mut(id) else { return };
        peer.stage = Stage::Leaving; // nothing is sent to it from here on
        let instances = std::mem::take(&mut peer.instances);
        instances.iter().for_each(|instance| self.board.take_back(*instance, out));
        instances.into_iter().for_each(|instance| self.board.end_running(instance, out));
        while let Some(call) = self.board.post.peers.get(id).and_then(|peer| peer.pending.head()) {
            self.board.abandon(call, ErrorCode::CANCELLED, out);
        }
        self.board.post.dismiss(id, out);
    }

    /// Ends what is out of time. At most a slice of it, so that a million deadlines in one millisecond hold up nothing else;
    /// [`Router::next_deadline`] is then in the past.
    fn expire(&mut self, now: Moment, out: &mut Outputs<F>) {
        for call in self.board.calls.expired(now, SLICE) {
            if let Some((caller, progress)) = self.board.abandon(call, ErrorCode::DEADLINE, out) {
                self.board.refuse(&caller, Refusal::Deadline(progress), out);
            }
        }
        for peer in self.board.post.peers.overdue(now, SLICE) {
            self.overdue(now, peer, out);
        }
    }

    /// Uses other limits from now on. Calls that waited for a limit that is higher now go out; frames that are over one that is lower
    /// are given up.
    fn set_limits(&mut self, now: Moment, limits: Limits, out: &mut Outputs<F>) {
        self.board.post.limits = limits;
        for instance in self.board.names.instances().map(|(id, _)| id).collect::<Vec<_>>() {
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

    /// The broker was told to stop: no new calls, waits for names end; calls that run may finish.
    fn drain(&mut self, out: &mut Outputs<F>) {
        self.board.draining = true;
        let watching = self.board.calls.iter().filter(|(_, slot)| matches!(slot.stage, CallStage::Watching(_)));
        for call in watching.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, _)) = self.board.abandon(call, ErrorCode::CANCELLED, out) {
                self.board.refuse(&caller, Refusal::Draining, out);
            }
        }
    }

    /// The broker stops for good: each pending call ends with `broker_lost`, each peer receives goodbye.
    fn stop(&mut self, out: &mut Outputs<F>) {
        for call in self.board.calls.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, progress)) = self.board.abandon(call, ErrorCode::CANCELLED, out) {
                self.board.refuse(&caller, Refusal::BrokerLost(progress), out);
            }
        }
        let goodbye = Goodbye { code: ErrorCode::UNAVAILABLE, text: "the broker shuts down".to_owned() };
        for peer in self.board.post.peers.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            out.push(Output::Cut { peer, goodbye: goodbye.clone() });
        }
    }

    fn note_call(&mut self, from: PeerId, id: u64) -> Result<(), Violation> {
        self.board.post.counters.calls += 1;
        let Some(peer) = self.board.post.peers.get_mut(from) else { return Ok(()) };
        if id <= peer.last_call {
            return Err(Violation::IdNotGrowing { found: id, last: peer.last_call });
        }
        peer.last_call = id;
        Ok(())
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The end of a call whose answer does not pass.
fn long_answer<F>(id: u64, len: u64, limit: u64) -> Failure<F> {
    let text = format!("the service's answer has {len} bytes, at most {limit} pass");
    Failure { retry: Retry::Unknown, ..Failure::new(id, ErrorCode::TOO_LARGE, text) }
}

/// What a service may say of a call: errors that only the broker can know of become `internal`, and whether a retry is safe follows
/// from the code.
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
    Failure { retry: failure.code.retry(), ..failure }
}

/// Deadlines handled in one go.
const SLICE: usize = 1024;
/// Longest routing section that a route is kept for.
const REMEMBERED: usize = 64;
